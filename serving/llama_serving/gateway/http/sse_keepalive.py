"""SSE keep-alive: the gateway begins a stream that waits long for a backend, so that no proxy takes it for dead.

    wait --``period`` is over--> 200 text/event-stream, and a comment every ``period`` --the answer begins--> a comment
    with the group and the weights that answer, because the head cannot name them any more, and the answer's events

Readers of server-sent events ignore a comment (a line that begins with a colon). From the first comment on the status
is sent, so every outcome is reported inside the stream: an error as an event ``data: {"error": ...}`` that contains the
status, then ``data: [DONE]``, as an engine does that fails in the middle; OpenAI's clients raise it.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from llama_serving.config import names
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.http.sse import error_events
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.ticket import Ticket

COMMENT: Final = b": waiting for a group\n\n"


class SseKeepAlive:
    """One waiting stream; ``period`` in seconds, ``headers`` are those of a stream that begins without an answer."""

    def __init__(self, relay: Relay, *, period: float, headers: CIMultiDict[str]) -> None:
        self.begun = False
        self.relay = relay
        self._period = period
        self._headers = headers
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for_backend(self, dispatcher: Dispatcher, ticket: Ticket, *, close: bool) -> Backend:
        """Wait until the request has a backend; raises QueueTimeoutError and ClientDisconnectedError.

        ``close``: the client's connection is not to be used again.
        """
        if not self.begun:
            try:
                async with asyncio.timeout(self._period):
                    return await dispatcher.wait_for_backend(ticket)
            except TimeoutError:
                if ticket.backend is None:
                    await self._begin(close=close)
        return await dispatcher.wait_for_backend(ticket)

    async def name_backend(self, headers: Mapping[str, str]) -> None:
        """Write the group and the weights of the answer's head as a comment, the last one. Raises ConnectionError."""
        self.stop()
        named = " ".join(f"{name}={headers[name]}" for name in (names.HEADER_GROUP, names.HEADER_WEIGHTS))
        await self.relay.write(f": {named}\n\n".encode())

    def stop(self) -> None:
        """Send no more comments: the answer begins, or the request has ended. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def fail(self, status: int, message: str, *, code: str) -> web.StreamResponse:
        """End the stream with an error of the gateway; return what the server wants returned."""
        return await self.end(error_events(status, message, code=code))

    async def end(self, events: bytes) -> web.StreamResponse:
        """End the stream with these events; return what the server wants returned. Raises ClientDisconnectedError."""
        self.stop()
        try:
            await self.relay.write(events)
            return await self.relay.end()
        except ConnectionError as error:
            raise ClientDisconnectedError(str(error)) from error

    async def _begin(self, *, close: bool) -> None:
        self.begun = True
        try:
            await self.relay.begin_events(self._headers, close=close)
            await self.relay.write(COMMENT)
        except ConnectionError as error:
            raise ClientDisconnectedError(str(error)) from error
        self._schedule_comment()

    def _schedule_comment(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._comment)

    def _comment(self) -> None:
        self.relay.write_comment(COMMENT)
        self._schedule_comment()

"""A stream that waits long for a group is begun by the gateway, so that nobody on the way takes it for dead.

    wait --``period`` is over--> 200 text/event-stream, and a comment every ``period`` --the answer begins--> a comment
    that says which group answers on which weights, as its head cannot say it any more, and the answer's events

A comment (a line that begins with a colon) is nothing to a reader of server-sent events. From the first one on the
status is given away, so every outcome has to be told inside the stream: an error as an event ``data: {"error": ...}``
with the status in it, and ``data: [DONE]``, as an engine does that fails in the middle; OpenAI's clients raise it.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import ClientError, web
from multidict import CIMultiDict

from llama_serving.config import names
from llama_serving.gateway.continuation.pure.chunk import DONE, write
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.http.errors import error_kind
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.upstream.exchange import WHOLE_BELOW, Reply

COMMENT: Final = b": waiting for a group\n\n"
_NO_JSON: Final = 502


class SseKeepAlive:
    """One waiting stream; ``period`` in seconds, ``headers`` are those with which it begins if it has to."""

    def __init__(self, relay: Relay, *, period: float, headers: CIMultiDict[str]) -> None:
        self.begun = False
        self.relay = relay
        self._period = period
        self._headers = headers
        self._timer: asyncio.TimerHandle | None = None

    async def placed(self, dispatcher: Dispatcher, ticket: Ticket, *, close: bool) -> Backend:
        """Wait until the request has a group; raises DeadlineError and ClientDisconnectedError.

        ``close``: the client's connection is not to be used again.
        """
        if not self.begun:
            try:
                async with asyncio.timeout(self._period):
                    return await dispatcher.placed(ticket)
            except TimeoutError:
                if ticket.group is None:
                    await self._begin(close=close)
        return await dispatcher.placed(ticket)

    async def answered(self, headers: Mapping[str, str]) -> None:
        """Say what the head of the answer says of the group; no more comments then. Raises ConnectionError."""
        self.stop()
        said = " ".join(f"{name}={headers[name]}" for name in (names.HEADER_GROUP, names.HEADER_WEIGHTS))
        await self.relay.write(f": {said}\n\n".encode())

    def stop(self) -> None:
        """Send no more comments: the answer begins, or the request has ended. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def refuse(self, status: int, message: str, *, code: str) -> web.StreamResponse:
        """End the stream with an error of the gateway; return what the server wants returned."""
        error = {"message": message, "type": error_kind(status), "code": code, "status": status}
        return await self.end(write({"error": error}) + DONE)

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
        self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._comment)

    def _comment(self) -> None:
        self.relay.remark(COMMENT)
        self._wait()


async def as_events(reply: Reply, *, timeout: float) -> bytes:
    """Return the events that say what an answer said that is no stream; ``timeout`` in seconds between its pieces."""
    body = reply.first
    try:
        while not reply.content.at_eof() and len(body) <= WHOLE_BELOW:
            async with asyncio.timeout(timeout):
                body += await reply.content.readany()
    except (ClientError, OSError, TimeoutError):
        body = b""  # as good as none
    return write(_spoken(reply.message.code, body)) + DONE


def _spoken(status: int, body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and status < 400:
        return said
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict):
        return {"error": {"code": status, **error, "status": status}}
    status = status if status >= 400 else _NO_JSON
    message = f"the group answered {status} and {len(body)} bytes that are no error of OpenAI's API"
    return {"error": {"message": message, "type": error_kind(status), "code": status, "status": status}}

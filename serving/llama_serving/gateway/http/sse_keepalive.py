"""SSE keep-alive: comments in a stream that is silent for long, so that no proxy takes it for dead.

    wait, compute --``period`` is over--> 200 text/event-stream, and a comment every ``period`` --the answer begins--> a
    comment with the group and the weights that answer, because the head cannot name them any more, and the answer's
    events --nothing sent for ``period``--> a comment, but only where an event has ended

Readers of server-sent events ignore a comment (a line that begins with a colon). From the first comment on the status
is sent, so every outcome is reported inside the stream: an error as an event ``data: {"error": ...}`` that contains the
status, then ``data: [DONE]``, as an engine does that fails in the middle; OpenAI's clients raise it.

One timer a stream, which looks at when something was sent last: an event costs nothing more.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from llama_serving.config import names
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.http.sse import error_events
from llama_serving.gateway.routing.ticket import Ticket

COMMENT: Final = b": waiting for a group\n\n"
COMPUTING: Final = b": keep-alive\n\n"


class SseKeepAlive:
    """One stream, from its request on; ``period`` in seconds.

    ``headers`` are those of a stream that begins without an answer; ``close`` returns whether the client's connection
    is not to be used again. ``begun``: the gateway has begun the stream; only ``settle`` makes that final.
    """

    def __init__(
        self, relay: Relay, *, ticket: Ticket, period: float, headers: CIMultiDict[str], close: Callable[[], bool]
    ) -> None:
        self.begun = False
        self.relay = relay
        self._ticket = ticket
        self._period = period
        self._headers = headers
        self._close = close
        self._loop = asyncio.get_running_loop()
        self._beginning: asyncio.Task[None] | None = None
        self._answered = False
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(period, self._look)

    async def settle(self) -> bool:
        """Begin the stream no more, because there is an outcome for its client; return whether it was begun."""
        self._answered = True
        if self._beginning is not None and not self.begun:
            self._beginning.cancel()
        elif self._beginning is not None:
            await asyncio.wait({self._beginning})
        return self.begun

    async def name_backend(self, headers: Mapping[str, str]) -> None:
        """Write the group and the weights of the answer's head as a comment. Raises ConnectionError."""
        told = (names.HEADER_GROUP, names.HEADER_WEIGHTS, names.HEADER_ADAPTER)
        named = " ".join(f"{name}={headers[name]}" for name in told if name in headers)
        await self.relay.write(f": {named}\n\n".encode())

    def stop(self) -> None:
        """Send no more comments: the request has ended. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beginning is not None:
            self._beginning.cancel()

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

    def _look(self) -> None:
        """Begin the stream, or send a comment if it was silent for a period; look again when it next may have been."""
        left = self._period
        if not self._answered and not self.begun:
            self._beginning = self._loop.create_task(self._begin())
        else:
            left -= self._loop.time() - self.relay.sent_at
            if left <= 0:
                self.relay.write_comment(self._comment())
                left = self._period
        self._timer = self._loop.call_later(left, self._look)

    async def _begin(self) -> None:
        self.begun = True
        with contextlib.suppress(ConnectionError):  # who handles the request learns it too
            await self.relay.begin_events(self._headers, close=self._close())
            await self.relay.write(self._comment())

    def _comment(self) -> bytes:
        return COMMENT if self._ticket.is_queued else COMPUTING

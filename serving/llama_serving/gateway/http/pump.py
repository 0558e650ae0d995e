"""Moves the pieces of a body from the engine's connection to the client's, as they arrive.

It works inside the callback that received a piece, so no task is woken per token. A task is woken only for the end, a
failure, or a client that is slower than the engine. Then nothing more is read from the engine until the client has
taken what was sent.
"""

import asyncio
from typing import Final, Protocol

from aiohttp import SocketTimeoutError, web
from aiohttp.http import StreamWriter

from llama_serving.gateway.telemetry.token_counter import TokenCounter
from llama_serving.gateway.upstream.exchange import Reply

_END_LENGTH: Final = len(b"\r\n\r\n")


class ClientDisconnectedError(Exception):
    """The client closed its connection, or no longer reads."""


class Tap(Protocol):
    """A transformation of a stream's pieces.

    ``failure``: why its engine must be left, empty while it is well; ``done``: the answer is complete.
    """

    failure: str
    done: bool

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the engine; return the bytes for the client, which may be none."""


class PieceMeter(Protocol):
    """Reads the pieces on their way to the client, and may take something out."""

    def take(self, piece: bytes) -> bytes:
        """Accept a piece; return the bytes for the client, which may be none."""

    def rest(self) -> bytes:
        """Return what was held back, at the end of the answer."""


class Pump:
    """One body; ``idle_timeout`` in seconds, for both sides.

    ``last`` ends with the bytes that were forwarded last, ``sent_at`` is when, in seconds of the event loop's clock.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        reply: Reply,
        *,
        writer: StreamWriter,
        idle_timeout: float,
        token_counter: TokenCounter,
        tap: Tap | None = None,
        meter: PieceMeter | None = None,
    ) -> None:
        self.last = b""
        self._tap = tap
        self._meter = meter
        self._token_counter = token_counter
        self._request = request
        self._content = reply.content
        self._connection = reply.connection
        self._writer = writer
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._last_read = self.sent_at = self._loop.time()
        self._wake: asyncio.Future[None] = self._loop.create_future()
        self._busy = False

    async def run(self) -> None:
        """Move the body to its end, or until the tap fails.

        Raises ClientDisconnectedError, or the exception that broke the engine's side.
        """
        self._connection.on_progress = self._push
        self._timer = self._loop.call_later(self._idle_timeout, self._check_idle)
        try:
            while not self._is_over():
                self._wake = self._loop.create_future()
                self._push()
                await self._wake
                await self._drain()
        finally:
            self._connection.on_progress = None
            self._timer.cancel()
        error = self._content.exception()
        if error is not None:
            raise error

    def check_tap(self) -> None:
        """Wake the task that runs the pump: the tap's ``failure`` was set from outside."""
        if not self._wake.done():
            self._wake.set_result(None)

    def _push(self) -> None:
        # Reading may resume the connection, which calls back in here at once: the outer call reads everything.
        if self._busy:
            return
        self._busy = True
        try:
            while not self._needs_task():
                piece = self._content.read_nowait(-1)
                if not piece:
                    return
                self._forward(piece)
        finally:
            self._busy = False
        if not self._wake.done():
            self._wake.set_result(None)

    def _needs_task(self) -> bool:
        return self._is_over() or self._request.protocol.writing_paused or self._is_client_gone()

    def _is_over(self) -> bool:
        if self._tap is not None and self._tap.failure:
            return True
        return self._content.at_eof() or self._content.exception() is not None

    def _is_client_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    def _forward(self, piece: bytes) -> None:
        self._last_read = self._loop.time()
        if self._tap is not None:
            piece = self._tap.take(piece)
            if not piece:
                return
        else:
            self._token_counter.take(piece)
        if self._meter is not None:
            piece = self._meter.take(piece)
            if not piece:
                return
        # The blank line that ends an event may come in pieces.
        self.last = piece if len(piece) > _END_LENGTH else self.last[-_END_LENGTH:] + piece
        self.sent_at = self._last_read
        transport = self._request.transport
        if transport is not None:
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._writer.chunked else piece)

    async def _drain(self) -> None:
        if self._is_client_gone():
            raise ClientDisconnectedError("the client closed its connection")
        if not self._request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(self._idle_timeout):
                await self._writer.drain()
        except TimeoutError:
            raise ClientDisconnectedError(f"the client read nothing for {self._idle_timeout:g} s") from None
        except ConnectionError as error:
            raise ClientDisconnectedError(str(error)) from error
        self._last_read = self._loop.time()

    def _check_idle(self) -> None:
        # One timer for the whole body instead of one per piece.
        left = self._last_read + self._idle_timeout - self._loop.time()
        if self._request.protocol.writing_paused:
            left = self._idle_timeout
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle)
        else:
            self._connection.set_exception(SocketTimeoutError(f"no data received for {self._idle_timeout:g} s"))

"""Forwards an answer from its first byte to its end, or until one side breaks.

An answer that the engine breaks off must not look complete. The client's connection is closed without the end mark of
the body. If the body is a stream of events and the break is between two events, an error event is sent first.
"""

import asyncio
import contextlib
from typing import cast

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError, HttpVersion11, StreamWriter
from multidict import CIMultiDict

from llama_serving.gateway.http.errors import error_event
from llama_serving.gateway.http.pump import ClientDisconnectedError, PieceMeter, Pump, Tap
from llama_serving.gateway.telemetry.token_counter import TokenCounter
from llama_serving.gateway.upstream.exchange import Reply, without_bytes

_UPSTREAM_ERRORS = (ClientError, HttpProcessingError, OSError, TimeoutError)
_EVENT_END = (b"\n\n", b"\r\n\r\n")


class ReadError(Exception):
    """The engine's side of an answer broke after the first byte."""


class _Response(web.StreamResponse):
    """A response whose head is sent with the first piece: one packet, and two system calls instead of three."""

    _send_headers_immediately = False


class Relay:
    """Forwards one answer, of one engine or of several in turn, to the client; ``idle_timeout`` in seconds.

    ``meter`` sees whatever of an answer goes to the client.
    """

    def __init__(self, request: web.BaseRequest, idle_timeout: float) -> None:
        self.meter: PieceMeter | None = None
        self._request = request
        self._idle_timeout = idle_timeout
        self._pump: Pump | None = None
        self._loop = asyncio.get_running_loop()
        self._last = b""
        self._sent_at = self._loop.time()
        self._ended = False
        self._is_events = False
        self._token_counter = TokenCounter()

    @property
    def tokens(self) -> int:
        """Number of tokens of an answer that was forwarded without a tap."""
        return self._token_counter.tokens(events=self._is_events)

    @property
    def sent_at(self) -> float:
        """When something was sent to the client last, in seconds of the event loop's clock."""
        return self._sent_at if self._pump is None else max(self._sent_at, self._pump.sent_at)

    async def begin(self, reply: Reply, headers: CIMultiDict[str], *, close: bool) -> None:
        """Begin the answer with this head; it is sent with the first piece."""
        message = reply.message
        self._is_events = reply.is_event_stream
        reason = message.reason if message.reason.isprintable() else None  # the code's own
        await self._prepare(_Response(status=message.code, reason=reason, headers=headers), close=close)

    async def begin_events(self, headers: CIMultiDict[str], *, close: bool) -> None:
        """Begin a stream of events with this head before there is an answer; it is sent with the first event."""
        self._is_events = True
        await self._prepare(_Response(status=200, headers=headers), close=close)

    async def forward(self, reply: Reply, tap: Tap | None = None) -> None:
        """Forward what one engine sends; raises ClientDisconnectedError and ReadError."""
        try:
            if tap is None:
                self._token_counter.take(reply.first)
            if tap is None and reply.content.at_eof():
                self._ended = True
                await self._response.write_eof(self._metered(reply.first, is_last=True))
                return
            await self.write(self._metered(reply.first if tap is None else tap.take(reply.first)))
            reply.drop_first()
            await self._pump_rest(reply, tap)
            await self.write(self._metered(b"", is_last=True))
        except ConnectionError as error:
            raise ClientDisconnectedError(str(error)) from error
        if tap is not None and not tap.done:
            raise ReadError(tap.failure or "ended its stream before the answer was complete")

    async def write(self, events: bytes) -> None:
        """Send these bytes to the client."""
        if events:  # an empty chunk would end the body
            self._last, self._sent_at = events, self._loop.time()
            await self._writer.write(events, drain=False)

    def write_comment(self, comment: bytes) -> None:
        """Send an SSE comment without waiting; none within an event, and none to a slow or gone client."""
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._request.protocol.writing_paused:
            return
        if self._ended or not self._is_between_events():
            return
        self._sent_at = self._loop.time()
        transport.write(b"%x\r\n%b\r\n" % (len(comment), comment) if self._writer.chunked else comment)

    async def end(self) -> web.StreamResponse:
        """End the answer as complete; return what the server wants returned."""
        if not self._ended:
            self._ended = True
            await self._response.write_eof()
        return self._response

    async def fail(self, reason: str) -> None:
        """Send an error event if the answer is a stream of events and the last one was sent whole."""
        if self._is_between_events():
            with contextlib.suppress(ConnectionError):
                await self.write(error_event(reason, code="stream_broken"))

    def cut(self, event: bytes) -> None:
        """End the answer at once and visibly incomplete; with this event where a stream is between two."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        if not self._ended and self._is_between_events():
            transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._writer.chunked else event)
        transport.close()

    def check_tap(self) -> None:
        """Notice that the tap's ``failure`` was set from outside."""
        if self._pump is not None:
            self._pump.check_tap()

    def _metered(self, piece: bytes, *, is_last: bool = False) -> bytes:
        if self.meter is None:
            return piece
        piece = self.meter.take(piece) if piece else piece
        return piece + self.meter.rest() if is_last else piece

    def _is_between_events(self) -> bool:
        last = self._last if self._pump is None else self._pump.last
        return self._is_events and last.endswith(_EVENT_END)

    async def _prepare(self, response: web.StreamResponse, *, close: bool) -> None:
        self._response = response
        # To HTTP/1.0 a body without a length ends with its connection, which aiohttp would keep open.
        if close or (self._request.version < HttpVersion11 and response.content_length is None):
            response.force_close()
        # prepare() is declared to return the abstract class, which cannot write without waiting.
        self._writer = cast(StreamWriter, await response.prepare(self._request))

    async def _pump_rest(self, reply: Reply, tap: Tap | None) -> None:
        self._pump = Pump(
            self._request,
            reply,
            writer=self._writer,
            idle_timeout=self._idle_timeout,
            token_counter=self._token_counter,
            tap=tap,
            meter=self.meter,
        )
        self._pump.last = self._last
        try:
            await self._pump.run()
        except _UPSTREAM_ERRORS as error:
            if tap is not None and tap.done:
                return
            raise ReadError(without_bytes(error)) from error
        finally:
            self._last = self._pump.last
            self._pump = None

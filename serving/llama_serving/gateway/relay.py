"""From the first byte on: an answer is passed on until its end, or until one side breaks.

An answer that the engine breaks off must not look complete. Its connection is closed without the end mark of the
body; where the body is a stream of events and the break is between two events, an error event goes before.
"""

from dataclasses import dataclass
from typing import cast

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict

from llama_serving.gateway.answers import error_event
from llama_serving.gateway.pump import ClientGoneError, Pump
from llama_serving.gateway.upstream.exchange import Reply

_UPSTREAM_ERRORS = (ClientError, HttpProcessingError, OSError, TimeoutError)
_EVENT_END = (b"\n\n", b"\r\n\r\n")


class BrokenError(Exception):
    """The engine broke off after the first byte."""


class _Answer(web.StreamResponse):
    """Its head leaves together with the first piece: one packet, and one system call less of three per request."""

    _send_headers_immediately = False


@dataclass(frozen=True, slots=True)
class Relay:
    """Passes one reply to the client of one request; ``idle_timeout`` in seconds."""

    request: web.BaseRequest
    reply: Reply
    idle_timeout: float

    async def run(self, headers: CIMultiDict[str], *, close: bool) -> web.StreamResponse:
        """Pass everything on; raises ClientGoneError and BrokenError."""
        message = self.reply.message
        response = _Answer(status=message.code, reason=message.reason, headers=headers)
        if close:
            response.force_close()
        try:
            # prepare() is declared to return the abstract class, which has none of the ways to write.
            writer = cast(StreamWriter, await response.prepare(self.request))
            if self.reply.content.at_eof():
                await response.write_eof(self.reply.first)
            else:
                await writer.write(self.reply.first, drain=False)
                await self._pump(writer)
                await response.write_eof()
        except ConnectionError as error:
            raise ClientGoneError(str(error)) from error
        return response

    async def _pump(self, writer: StreamWriter) -> None:
        pump = Pump(self.request, self.reply, writer=writer, idle_timeout=self.idle_timeout)
        try:
            await pump.run()
        except _UPSTREAM_ERRORS as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if self.reply.is_event_stream and pump.last.endswith(_EVENT_END):
                await writer.write(error_event(f"the group broke off: {reason}", code="stream_broken"), drain=False)
            raise BrokenError(reason) from error

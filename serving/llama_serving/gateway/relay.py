"""From the first byte on: pieces of an answer are passed on as they come, until the end or until one side breaks.

Back-pressure: while the client's socket is full nothing more is read from the engine. A client that takes nothing for
``idle_timeout`` is treated as gone, since it would keep a slot of the group for ever.

An answer that the engine breaks off must not look complete. Its connection is closed without the end mark of the
body; where the body is a stream of events and the break is between two events, an error event goes before.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict

from llama_serving.gateway.answers import error_event
from llama_serving.gateway.upstream.exchange import Reply

_UPSTREAM_ERRORS = (ClientError, HttpProcessingError, OSError, TimeoutError)
_EVENT_END = (b"\n\n", b"\r\n\r\n")


class ClientGoneError(Exception):
    """The client closed its connection, or takes nothing any more."""


class BrokenError(Exception):
    """The engine broke off after the first byte."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Passes one reply to the client of one request; ``idle_timeout`` in seconds."""

    request: web.BaseRequest
    reply: Reply
    idle_timeout: float

    async def run(self, headers: CIMultiDict[str], *, close: bool) -> web.StreamResponse:
        """Pass everything on; raises ClientGoneError and BrokenError."""
        message = self.reply.message
        response = web.StreamResponse(status=message.code, reason=message.reason, headers=headers)
        if close:
            response.force_close()
        try:
            writer = cast(StreamWriter, await response.prepare(self.request))
            await self._pass_on(writer)
            await response.write_eof()
        except ConnectionError as error:
            raise ClientGoneError(str(error)) from error
        return response

    async def _pass_on(self, writer: StreamWriter) -> None:
        protocol, content = self.request.protocol, self.reply.content
        piece = self.reply.first
        while piece:
            await writer.write(piece, drain=False)
            if protocol.writing_paused:
                await self._drain(writer)
            last = piece
            try:
                piece = await content.readany()
            except _UPSTREAM_ERRORS as error:
                await self._break_off(writer, last, error)

    async def _drain(self, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(self.idle_timeout):
                await writer.drain()
        except TimeoutError:
            raise ClientGoneError(f"took nothing for {self.idle_timeout:g} s") from None

    async def _break_off(self, writer: StreamWriter, last: bytes, error: Exception) -> None:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if self.reply.is_event_stream and last.endswith(_EVENT_END):
            await writer.write(error_event(f"the group broke off: {reason}", code="stream_broken"), drain=False)
        raise BrokenError(reason) from error

"""Request bodies are read whole, because a retry sends them again. So their size is bounded, each and in total.

A body has to come at ``min_rate`` at least, after a grace: whoever sends a byte now and then would hold its memory for
ever. It is collected in one buffer, because pieces of a few bytes would take many times their size.
"""

import asyncio
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpVersion11

from llama_serving.gateway.fields.scanner import Body
from llama_serving.gateway.http.bad_requests import BAD_FRAMING, FramingRefusedError
from llama_serving.gateway.http.memory_budget import MemoryBudget


class BodyRefusedError(Exception):
    """The body is rejected; ``status`` and ``code`` for the client, ``param`` the field that was wrong."""

    def __init__(self, status: int, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


@dataclass(frozen=True, slots=True)
class BodyPace:
    """How fast a body has to come: no silence of ``idle_timeout`` seconds, and ``min_rate`` bytes/s after ``grace`` s.

    ``min_rate`` 0: as slowly as it likes.
    """

    idle_timeout: float
    min_rate: int = 0
    grace: float = 0.0

    def seconds(self, size: int, elapsed: float) -> float:
        """Return how long the next byte may take after ``size`` bytes in ``elapsed`` seconds."""
        if not self.min_rate:
            return self.idle_timeout
        return min(self.idle_timeout, self.grace + size / self.min_rate - elapsed)

    def why_late(self, size: int, seconds: float) -> str:
        """Say why a body of which ``size`` bytes have come is given up, as a clause."""
        if seconds >= self.idle_timeout:
            return f"no byte of the request body received within {self.idle_timeout:g} s"
        return (
            f"the request body comes too slowly: {size} bytes so far, fewer than {self.min_rate} per second after the "
            f"first {self.grace:g} s"
        )


class BodyReader:
    """Reads bodies and counts them in ``budget`` for as long as requests hold them."""

    def __init__(self, *, max_body: int, budget: MemoryBudget, pace: BodyPace) -> None:
        self._max_body = max_body
        self._budget = budget
        self._pace = pace

    async def read(self, request: web.BaseRequest) -> Body:
        """Read the body; raises BodyRefusedError. ``release`` must follow with its length."""
        announced = request.content_length or 0
        if announced > self._max_body:
            raise self._too_large()
        self._check_budget(announced)
        await _continue_if_asked(request)
        if request.content.is_eof():  # most bodies come whole with the head: no timer, and no second copy
            return self._taken(request.content.read_nowait())
        body = bytearray()
        try:
            await self._collect(request, body)
        except BaseException:
            self._budget.bodies -= len(body)
            raise
        return body

    def release(self, size: int) -> None:
        """Record that a body of this size is no longer held."""
        self._budget.bodies -= size

    def _taken(self, piece: bytes) -> bytes:
        if len(piece) > self._max_body:
            raise self._too_large()
        self._check_budget(len(piece))
        self._budget.bodies += len(piece)
        return piece

    async def _collect(self, request: web.BaseRequest, body: bytearray) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not request.content.at_eof():
            piece = await self._piece(request, len(body), loop.time() - begun)
            body += piece
            self._budget.bodies += len(piece)
            if len(body) > self._max_body:
                raise self._too_large()
            self._check_budget(0, of=len(body))

    async def _piece(self, request: web.BaseRequest, size: int, elapsed: float) -> bytes:
        seconds = self._pace.seconds(size, elapsed)
        try:
            async with asyncio.timeout(seconds):
                return await request.content.readany()
        except TimeoutError:
            raise BodyRefusedError(408, self._pace.why_late(size, seconds), code="request_timeout") from None
        except web.RequestPayloadError as error:  # its text has bytes of the request
            error.__traceback__ = None  # the reader keeps the error, and its frames lead back to the reader
            refusal = error.refusal if isinstance(error, FramingRefusedError) else BAD_FRAMING
            raise BodyRefusedError(refusal.status, refusal.message, code=refusal.code) from None

    def _check_budget(self, more: int, *, of: int | None = None) -> None:
        """Check that there is room for ``more`` bytes of a body that has ``of`` in all."""
        budget = self._budget
        if not budget.has_room(more, of=of):
            message = f"the gateway's memory for requests is full: {budget.usage()}"
            raise BodyRefusedError(429, message, code="gateway_full")

    def _too_large(self) -> BodyRefusedError:
        message = f"the request body is larger than {self._max_body} bytes"
        return BodyRefusedError(413, message, code="request_too_large")


async def _continue_if_asked(request: web.BaseRequest) -> None:
    # HTTP/1.0 has no such answer: its client would take it for the whole one.
    if request.headers.get("expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0

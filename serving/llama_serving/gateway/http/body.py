"""Request bodies are read whole, because a retry sends them again. So their size is bounded, each and in total."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11

from llama_serving.gateway.http.memory_budget import MemoryBudget


class BodyRefusedError(Exception):
    """The body is rejected; ``status``, ``code`` and ``param`` for the client."""

    param: Final = None

    def __init__(self, status: int, message: str, *, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BodyReader:
    """Reads bodies and counts them in ``budget`` for as long as requests hold them."""

    def __init__(self, *, max_body: int, budget: MemoryBudget, idle_timeout: float) -> None:
        self._max_body = max_body
        self._budget = budget
        self._idle_timeout = idle_timeout

    async def read(self, request: web.BaseRequest) -> bytes:
        """Read the body; raises BodyRefusedError. ``release`` must follow with its length."""
        announced = request.content_length or 0
        if announced > self._max_body:
            raise self._too_large()
        self._check_budget(announced)
        await _continue_if_asked(request)
        pieces: list[bytes] = []
        size = 0
        try:
            while not request.content.at_eof():
                piece = await self._piece(request)
                size += len(piece)
                self._budget.bodies += len(piece)
                if size > self._max_body:
                    raise self._too_large()
                self._check_budget(0)
                pieces.append(piece)
        except BaseException:
            self._budget.bodies -= size
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self, size: int) -> None:
        """Record that a body of this size is no longer held."""
        self._budget.bodies -= size

    async def _piece(self, request: web.BaseRequest) -> bytes:
        if request.content.is_eof():  # most bodies come whole with the head and need no timer
            return request.content.read_nowait()
        try:
            async with asyncio.timeout(self._idle_timeout):
                return await request.content.readany()
        except TimeoutError:
            message = f"no byte of the request body received within {self._idle_timeout:g} s"
            raise BodyRefusedError(408, message, code="request_timeout") from None
        except web.RequestPayloadError:  # its text has bytes of the request
            message = "the request body is not valid HTTP/1.1: it does not keep to its framing"
            raise BodyRefusedError(400, message, code="bad_request") from None

    def _check_budget(self, more: int) -> None:
        budget = self._budget
        if not budget.has_room(more):
            used = f"{budget.bodies} bytes of request bodies and {budget.streams} bytes of running streams"
            message = f"the gateway's memory for requests is full: {used}, limit {budget.limit} bytes in total"
            raise BodyRefusedError(429, message, code="gateway_full")

    def _too_large(self) -> BodyRefusedError:
        message = f"the request body is larger than {self._max_body} bytes"
        return BodyRefusedError(413, message, code="request_too_large")


async def _continue_if_asked(request: web.BaseRequest) -> None:
    # HTTP/1.0 has no such answer: its client would take it for the whole one.
    if request.headers.get("expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0

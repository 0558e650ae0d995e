"""Requests that the parser refuses, answered in the shape of OpenAI's errors.

Stock, aiohttp answers 400 with the bytes that it refused, and logs them with a traceback: a key in an Authorization
header that is too long would be in both. Here an answer and its line in the log say which rule was broken, and nothing
of the request.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, InvalidHeader, InvalidURLError, LineTooLong

from llama_serving.gateway.http.errors import error_response
from llama_serving.gateway.telemetry.log import LOGGER

#: Bytes of a request's target, and of one header with its name. They differ so that LineTooLong tells which it was.
MAX_TARGET: Final = 8192
MAX_HEADER: Final = 8190
MAX_HEADERS: Final = 128
#: Bytes of a whole head.
MAX_HEAD: Final = 32 << 10
# Seconds in which the rest of a refused request is read and dropped: a connection that is closed with unread bytes is
# reset, and the client would lose the answer.
_LINGER: Final = 2.0

_INVALID: Final = "the request is not valid HTTP/1.1"
OTHER_VERSION: Final = "this port speaks HTTP/1.0 and HTTP/1.1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told about a request that could not be read."""

    status: int
    code: str
    message: str


class HeadRefusedError(HttpProcessingError):
    """A request that could be read, and is not answered."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(code=refusal.status, message=refusal.message)
        self.refusal = refusal


class FramingRefusedError(web.RequestPayloadError):
    """A body that does not keep to its framing, or to the limit of it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.refusal = error.refusal if isinstance(error, HeadRefusedError) else BAD_FRAMING


BAD_FRAMING: Final = Refusal(
    400, "bad_request", "the request body is not valid HTTP/1.1: it does not keep to its framing"
)
#: What the client of a request is told that a bug ended.
BUG: Final = Refusal(500, "internal_error", "the gateway failed to answer this request; its log has the cause")
#: By the beginning of the parser's own message, which has nothing of the request; for errors without a class.
_BY_MESSAGE: Final = {
    "Too many headers": Refusal(431, "headers_too_large", f"the request has more than {MAX_HEADERS} headers"),
    "Received HTTPS": Refusal(400, "bad_request", "this port speaks HTTP without TLS, and the request began with TLS"),
    "Bad status line:\n  Invalid HTTP version": Refusal(505, "http_version_not_supported", OTHER_VERSION),
    "Expected HTTP/2": Refusal(505, "http_version_not_supported", OTHER_VERSION),
    "Pause on PRI/Upgrade": Refusal(505, "http_version_not_supported", OTHER_VERSION),
    "Missing 'Host'": Refusal(400, "bad_request", "the request has no Host header"),
    "Duplicate '": Refusal(400, "bad_request", "the request has a header twice that may be there once"),
}


def refusal_of(error: BaseException) -> Refusal:
    """Return what to tell a client about an error of the parser; of any other, that it is a bug."""
    match error:
        case HeadRefusedError():
            return error.refusal
        case LineTooLong(args=(_, limit, *_)) if limit == MAX_TARGET:
            return Refusal(414, "target_too_long", f"the request's path and query are longer than {MAX_TARGET} bytes")
        case LineTooLong():
            return Refusal(431, "headers_too_large", f"a header of the request is longer than {MAX_HEADER} bytes")
        case InvalidURLError():
            return Refusal(400, "bad_request", f"{_INVALID}: its target is no path")
        case InvalidHeader():
            return Refusal(400, "bad_request", f"{_INVALID}: a header has a character that none may have")
        case HttpProcessingError():
            return _by_message(error)
    return BUG


def _by_message(error: HttpProcessingError) -> Refusal:
    for beginning, refusal in _BY_MESSAGE.items():
        if error.message.startswith(beginning):
            return refusal
    detail = ": its method is unknown" if isinstance(error, BadHttpMethod) else ""
    return Refusal(400, "bad_request", _INVALID + detail)


class _LastAnswer(web.Response):
    """An answer after which the client's connection is closed, once the client has taken the answer."""

    def __init__(self, request: web.BaseRequest, answer: web.Response) -> None:
        super().__init__(status=answer.status, headers=answer.headers, body=answer.body)
        self._transport = request.transport
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the end, then drop what the client still sends; its own end cancels the wait."""
        await super().write_eof(data)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            await asyncio.sleep(_LINGER)


#: Gets a request that failed and what to tell its client; may change the answer's headers.
OnRefusal = Callable[[web.BaseRequest, Refusal, web.Response], None]


class ClientProtocol(web.RequestHandler):
    """aiohttp's side of one client's connection, with the errors of this module."""

    __slots__ = ("_on_refusal",)

    def __init__(self, manager: web.Server, *, on_refusal: OnRefusal, **options: Any) -> None:
        super().__init__(manager, **options)
        self._on_refusal = on_refusal

    def data_received(self, data: bytes) -> None:
        """Accept data; what ends a body that is being read in the middle is told to its reader."""
        super().data_received(data)
        last = self._messages[-1][0] if self._messages else None
        if last is None or isinstance(last, RawRequestMessage):
            return
        error = last.exc
        # It leads to what was received, and from there back to the error: left as it is, all of that would wait for the
        # garbage collector.
        error.__traceback__ = None
        request = self._current_request if self._request_in_progress else None
        if request is not None and not request.content.is_eof() and request.content.exception() is None:
            request.content.set_exception(FramingRefusedError(error))

    def handle_error(  # noqa: PLR0917  # aiohttp's own signature
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # it has bytes of the request
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be read, or that a bug ended."""
        refusal = BUG if exc is None or status != 400 else refusal_of(exc)
        if refusal is BUG:
            LOGGER.error("a bug ended a request", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: there can be no other")
        answer = error_response(refusal.status, refusal.message, code=refusal.code)
        self._on_refusal(request, refusal, answer)
        self.close()  # reads no further request
        return _LastAnswer(request, answer)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log an error of the server, but none of the parser: they have bytes of the request."""
        if not isinstance(options.get("exc_info"), HttpProcessingError | web.RequestPayloadError):
            super().log_exception(*args, **options)

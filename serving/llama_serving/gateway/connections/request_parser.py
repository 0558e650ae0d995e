"""The parser of requests, with limits of a whole head and of the framing of chunks, and without CONNECT.

A parser limits each header alone, so that 128 of them could take 2 MiB. Here a head has ``MAX_HEAD`` bytes at most,
whether it has come to its end or not. CONNECT is refused before it is read on: the parser takes what follows its head
for the bytes of a tunnel, so a body would be read as the next request.

A chunk takes the same time to read, some 10 us, whether it has two bytes or a thousand: a body of 4 MiB in chunks of
two bytes would take 20 s of the loop. So the framing of a chunked body is limited by its data.
"""

import sys
from collections.abc import Callable
from typing import Any, Final

from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from llama_serving.gateway.connections.limits import FREE_HEAD, RECEIVED
from llama_serving.gateway.http.bad_requests import MAX_HEAD, HeadRefusedError, Refusal

TOO_LARGE: Final = Refusal(431, "headers_too_large", f"the head of the request is longer than {MAX_HEAD} bytes")
FULL: Final = Refusal(429, "gateway_full", "the gateway's memory for the heads of requests is full")
NO_TUNNEL: Final = Refusal(405, "method_not_allowed", "this port is no proxy: it opens no tunnel with CONNECT")
#: Bytes of framing in a chunked body: so many, and one more for each ``DATA_PER_FRAMING`` bytes of data. What was
#: received and is not parsed yet counts as framing until it is: hence RECEIVED.
MOST_FRAMING: Final = (16 << 10) + RECEIVED
DATA_PER_FRAMING: Final = 4
SMALL_CHUNKS: Final = Refusal(
    400,
    "chunks_too_small",
    f"the request body comes in too many small chunks: more than {MOST_FRAMING} bytes and a quarter of its data are "
    "framing; send larger chunks, or a Content-Length",
)
_OBJECT: Final = 33  # bytes of an empty bytes object
_HEAD_END: Final = b"\r\n\r\n"
_LINE: Final = len(": \r\n")


class BoundedParser(HttpRequestParser):
    """Reads requests; ``head_since`` is when an unfinished head began, ``take`` asks whether a head has room.

    ``take`` gets the bytes that a head longer than ``FREE_HEAD`` takes in memory, 0 for any other; ``is_paused`` tells
    whether no more of a body is parsed for now.
    """

    def __init__(
        self,
        *args: Any,
        clock: Callable[[], float],
        take: Callable[[int], bool],
        is_paused: Callable[[], bool],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._is_paused = is_paused
        self.head_since: float | None = None
        self._head_bytes = 0
        self._clock = clock
        self._take = take
        self._body: StreamReader | None = None
        self._raw = 0  # bytes that have come of the body, with its framing

    def feed_data(self, data: bytes) -> Any:  # type: ignore[override]  # the stub is of the parser in Python
        """Accept data; returns what the parser does. Raises HttpProcessingError, HeadRefusedError among them."""
        body = self._body
        in_head, before = body is None or body.is_eof(), 0 if body is None else body.total_bytes
        fed = super().feed_data(data)
        if fed[0]:
            # What was kept from before is not in ``data``: then nothing is known of the head's length.
            is_short = bool(data) and self._head_bytes + len(data) <= FREE_HEAD
            self._head_bytes, self.head_since = 0, None
            self._body, before = fed[0][-1][1], 0
            self._raw = self._body.total_bytes
            for message, _ in fed[0]:
                self._check(message, is_short=is_short)
        elif in_head and data:
            self._count(len(data))
            return fed
        elif body is not None and not body.is_eof():
            self._raw += len(data)
            self._check_framing(body)
        if data and self._body is not None and self._body.is_eof() and _has_rest(data, self._body.total_bytes - before):
            self.head_since = self._clock()
        return fed

    def _check_framing(self, body: StreamReader) -> None:
        # What the parser keeps because its reader is behind is no framing.
        if not self._is_paused() and self._raw - body.total_bytes > MOST_FRAMING + body.total_bytes // DATA_PER_FRAMING:
            raise HeadRefusedError(SMALL_CHUNKS)

    def _count(self, more: int) -> None:
        if self.head_since is None:
            self.head_since = self._clock()
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD:
            raise HeadRefusedError(TOO_LARGE)

    def _check(self, message: RawRequestMessage, *, is_short: bool) -> None:
        if message.method == "CONNECT":
            raise HeadRefusedError(NO_TUNNEL)
        if is_short:
            self._take(0)
            return
        size = len(message.path) + sum(len(name) + len(value) + _LINE for name, value in message.raw_headers)
        if size > MAX_HEAD:
            raise HeadRefusedError(TOO_LARGE)
        if not self._take(0 if size <= FREE_HEAD else _memory(message, size)):
            raise HeadRefusedError(FULL)


def _has_rest(data: bytes, of_body: int) -> bool:
    """Return whether a request that ends in ``data``, with so many bytes of its body, has something behind it."""
    end = len(data) - of_body
    return not (data.endswith(_HEAD_END) or _HEAD_END.endswith(data[max(end - len(_HEAD_END), 0) : end]))


def _memory(message: RawRequestMessage, size: int) -> int:
    """Return the bytes of memory of a head of ``size`` bytes: as bytes, as text, and as it is sent to an engine."""
    texts = sum(sys.getsizeof(value) for value in message.headers.values())
    # The path is kept as received and in the parts of a URL.
    return 2 * size + texts + 2 * _OBJECT * len(message.raw_headers) + 3 * sys.getsizeof(message.path)

"""One client's connection, within bounds of memory and time.

What a connection holds is counted when it comes to hold it:

    a long head          until the next one: the parser keeps it
    requests behind one  while no more is read, because the one before them is not answered
    an answer            while the client does not take it

Where no room can be made, the request is refused (a head) or the connection is closed. Time is checked by
``why_close``, once a second for all connections.

What takes the loop long is received in smaller pieces; and while the loop is busy, a peer that takes more than its
share of it is read no further for a while (fair_share.py).
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast

from aiohttp import web

from llama_serving.common.transports import end_cycle
from llama_serving.gateway.connections.fair_share import OPENING, FairShare
from llama_serving.gateway.connections.limits import RECEIVED, SOCKET_BUFFER, UNSENT
from llama_serving.gateway.connections.loop_time import Measured
from llama_serving.gateway.connections.request_parser import BoundedParser
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.http.bad_requests import MAX_HEADER, MAX_HEADERS, MAX_TARGET, ClientProtocol, OnRefusal

T = TypeVar("T")

#: Requests that are read ahead behind the one that is answered.
READ_AHEAD: Final = 2
#: Bytes of a body that wait to be read, twice at most; a sixteenth of it is the limit of chunks that wait.
BODY_AHEAD: Final = 16 << 10
#: Bytes that these take with what follows them: one body's buffer twice, what was received last, the kernel's buffer.
BEHIND: Final = 3 * RECEIVED + 2 * SOCKET_BUFFER
#: Bytes that an answer takes beside what waits here: in the kernel, and of what came from the engine.
UNSENT_BESIDE: Final = 2 * SOCKET_BUFFER + RECEIVED
#: Seconds that a request may take when more than is read ahead has come behind it.
PATIENCE: Final = 10.0
#: Seconds that the loop may take for what was received at once; bytes that are received at least.
LONG: Final = 0.002
LEAST_RECEIVED: Final = 4 << 10
_ESTABLISHED: Final = 1  # the first byte of struct tcp_info, linux/tcp.h


class BoundedProtocol(ClientProtocol):
    """A connection in ``table``; ``had_request``: it has brought one. Times are those of the loop's clock."""

    __slots__ = (
        "_behind_since",
        "_head",
        "_made",
        "_received",
        "_share",
        "_table",
        "_unsent",
        "_unsent_since",
        "_waits_since",
        "had_request",
        "peer",
    )

    def __init__(
        self, manager: web.Server, *, table: ConnectionTable, share: FairShare, on_refusal: OnRefusal, **options: Any
    ) -> None:
        super().__init__(manager, on_refusal=on_refusal, **options)
        self._parser = BoundedParser(
            self,
            self._loop,
            BODY_AHEAD,
            clock=self._loop.time,
            take=self._take_head,
            is_paused=self._is_paused,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=READ_AHEAD,
        )
        self._max_msg_queue_size = READ_AHEAD
        self._msg_queue_resume_size = READ_AHEAD - 1
        self._table = table
        self._share = share
        self._received = RECEIVED
        self._waits_since: float | None = None  # since when it is not read, because others shall be
        self._made = self._loop.time()
        self._head = 0
        self._behind_since: float | None = None
        self._unsent = 0
        self._unsent_since: float | None = None
        self.had_request = False
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is a place."""
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._table.admit(self):
            cast(asyncio.Transport, transport).abort()
            return
        transport.max_size = RECEIVED  # type: ignore[attr-defined]  # bytes that asyncio receives at a time
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=UNSENT)
        super().connection_made(transport)
        if self._share.is_busy:
            self._share.note(self.peer, OPENING)
            self._let_others()

    def data_received(self, data: bytes) -> None:
        """Accept data."""
        begun = self._loop.time()
        super().data_received(data)
        if not data:  # no more than what was kept before: whoever asked for it is measured
            return
        took = self._loop.time() - begun
        if took > LONG or self._received < RECEIVED:
            self._fit(took)
        if self._share.is_busy:
            self._share.note(self.peer, took)
            self._let_others()

    def read_on(self) -> None:
        """Read again, after others had their turn: the wait was no fault of the client."""
        if self._waits_since is None:
            return
        waited = self._loop.time() - self._waits_since
        self._waits_since = None
        self._made += waited
        parser = cast(BoundedParser, self._parser)
        if parser is not None and parser.head_since is not None:
            parser.head_since += waited
        if not self._reading_paused and not self._buffer_paused:
            super()._resume_transport_reading()

    async def start(self) -> None:
        """Answer requests, one after the other; what follows an answer, such as the rest of its body, counts too."""
        await self.measured(super().start())

    def measured(self, work: Coroutine[Any, Any, T]) -> Measured[T]:
        """Return work for this connection as something to await, whose time counts while it matters."""
        return Measured(work, clock=self._loop.time, matters=self._share.divides, measure=self._count)

    def _count(self, seconds: float) -> None:
        self._share.note(self.peer, seconds, turns=0)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End: all that it held is free."""
        self._let_go()
        end_cycle(self.transport)
        super().connection_lost(exc)
        self._messages.clear()  # their bodies lead back to this connection

    def answered(self) -> None:
        """Note that the answer to a request has ended; a request behind it comes next."""
        if not self._messages:
            self._table.waits(self)

    def cut(self, reason: str) -> None:
        """Close at once: nothing that waits to be sent is sent; a request is cancelled."""
        if reason:
            self._table.closed[reason] += 1
        self._let_go()
        if self.transport is not None:
            self.transport.abort()

    def why_close(self, now: float) -> str:
        """Return why the connection is given up, one of ``ConnectionTable.REASONS``; empty while it is well."""
        if self.transport is None:
            return ""
        if self._head_is_late(now):
            return "slow_head"
        if self._answer_is_late(now):
            return "slow_reader"
        if self._behind_since is None:
            return ""
        return "left" if self._has_left() else "pipelined" if now - self._behind_since > PATIENCE else ""

    def pause_writing(self) -> None:
        """Count what the client does not take."""
        super().pause_writing()
        assert self.transport is not None
        unsent = self.transport.get_write_buffer_size() + UNSENT_BESIDE
        if not self._table.reserve(unsent, at_fault=self):
            self._loop.call_soon(self.cut, "memory")  # not within a write of whoever sends
            return
        self._unsent, self._unsent_since = unsent, self._loop.time()

    def resume_writing(self) -> None:
        """Count it no more."""
        self._takes_on()
        super().resume_writing()

    def pause_reading(self) -> None:
        """Read no more: the buffer of a body is full, of the request that is read or of one behind it."""
        super().pause_reading()
        request = self._current_request
        if request is not None and request.content.is_eof():  # so it is the body of one behind it
            self._reads_no_further()

    def _pause_reading_for_buffer(self) -> None:
        super()._pause_reading_for_buffer()
        self._reads_no_further()

    def _resume_transport_reading(self) -> None:
        self._reads_on()
        if self._waits_since is None:
            super()._resume_transport_reading()

    def _reads_no_further(self) -> None:
        if self._behind_since is not None:
            return
        if not self._table.reserve(BEHIND, at_fault=self):
            self._loop.call_soon(self.cut, "memory")
            return
        self._behind_since = self._loop.time()

    def _reads_on(self) -> None:
        if self._behind_since is not None:
            self._behind_since = None
            self._table.release(BEHIND)
            self._settle()

    def _takes_on(self) -> None:
        self._table.release(self._unsent)
        self._unsent, self._unsent_since = 0, None
        self._settle()

    def _settle(self) -> None:
        if self._behind_since is None and self._unsent_since is None:
            self._table.settled(self)

    def _let_go(self) -> None:
        """Hold nothing: the connection ends."""
        self._table.remove(self)
        self._share.remove(self)
        self._table.release(self._head)
        self._head = 0
        self._takes_on()
        self._reads_on()

    def _let_others(self) -> None:
        if self.transport is not None and self._waits_since is None and self._share.must_wait(self):
            self._waits_since = self._loop.time()
            self._pause_transport_reading()

    def _fit(self, took: float) -> None:
        """Receive less at a time where that takes the loop long, and more again where it does not."""
        if took > LONG:
            self._received = max(self._received // 2, LEAST_RECEIVED)
        elif took < LONG / 8:
            self._received = min(self._received * 2, RECEIVED)
        if self.transport is not None:
            self.transport.max_size = self._received  # type: ignore[attr-defined]

    def _head_is_late(self, now: float) -> bool:
        if self._request_in_progress or self._messages or self._waits_since is not None:
            return False
        since = cast(BoundedParser, self._parser).head_since if self.had_request else self._made
        return since is not None and now - since > self._table.limits.head_timeout

    def _answer_is_late(self, now: float) -> bool:
        limits = self._table.limits
        if self._unsent_since is None or not limits.min_rate:
            return False
        return now - self._unsent_since > limits.grace + self._unsent / limits.min_rate

    def _has_left(self) -> bool:
        """Return whether the client has closed: nothing is read that would tell it."""
        assert self.transport is not None
        raw = self.transport.get_extra_info("socket")
        try:
            return bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED)
        except OSError:
            return True

    def _is_paused(self) -> bool:
        return self._reading_paused

    def _take_head(self, size: int) -> bool:
        """Record a request whose head takes ``size`` bytes; return whether there is room for it."""
        self.had_request = True
        self._table.has_request(self)
        if size == self._head:
            return True
        self._table.release(self._head)
        self._head = 0
        if not self._table.reserve(size):
            return False
        self._head = size
        return True

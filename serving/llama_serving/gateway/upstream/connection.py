"""Connections to one engine, kept alive between requests.

aiohttp's ``ResponseHandler`` is the layer under its ClientSession: socket, flow control and the C parser. Using it
without the session costs half the CPU per request (figures: docs/benchmarks). It also shows, unlike a session,
whether a connection was used before: only then may a closed connection mean "idle for too long".
"""

import asyncio
import errno
from collections.abc import Callable

from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader

from llama_serving.common.transports import end_cycle
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind

#: Bytes that are received at a time, and those of a body that wait for its reader: both are held once per stream.
RECEIVED = 32 << 10
READ_AHEAD = 16 << 10
# Shorter than the 5 s after which uvicorn, the usual server of an engine, closes an idle connection.
MAX_IDLE = 4.0
# What says nothing about the other side: no descriptors, memory or ports are left here.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_LOCAL_PAUSE = 0.05


class AttemptError(Exception):
    """One attempt failed before there was anything to forward."""

    def __init__(self, fault: AttemptFault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


class Connection(ResponseHandler):
    """A connection that reports progress of a body at once, inside the callback of the event loop.

    ``body`` is what is being read; ``on_progress`` is called after each arrival of data and after the end or a failure.
    """

    body: StreamReader | None = None
    on_progress: Callable[[], None] | None = None
    _reads_paused: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        transport.max_size = RECEIVED  # type: ignore[attr-defined]  # bytes that asyncio receives at a time
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Accept received data."""
        super().data_received(data)
        if self.on_progress is not None:
            self.on_progress()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Record the end of the connection."""
        end_cycle(self.transport)
        super().connection_lost(exc)
        if self.on_progress is not None:
            self.on_progress()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Record a failure, for the reader of the body too.

        When the bytes of a body stop being HTTP in its middle, aiohttp 3.14 tells only the next reader of a head, and
        stops its timer: the reader of the body would wait for ever.
        """
        cause = exc if exc_cause is None else exc_cause
        super().set_exception(exc, cause)
        if self.body is not None and not self.body.is_eof() and self.body.exception() is None:
            self.body.set_exception(exc, cause)
        if self.on_progress is not None:
            self.on_progress()

    def close(self) -> None:
        """Close, and let go of the transport."""
        end_cycle(self.transport)
        super().close()

    def abort(self) -> None:
        """Close without sending what waits to be sent."""
        end_cycle(self.transport)
        super().abort()

    async def drain(self) -> None:
        """Wait until the engine has taken most of what was sent. Raises ConnectionError."""
        await self._drain_helper()

    def end_timeout(self) -> None:
        """Wait for data without a limit: whoever reads from now on has a timer."""
        self.read_timeout = None
        self._drop_timeout()

    def _reschedule_timeout(self) -> None:
        """Leave a running timer as it is: it is for the whole beginning of an answer, not for each of its pieces."""
        if self._read_timeout_handle is None:
            super()._reschedule_timeout()

    def pause_reading(self) -> None:
        """Read no more from the socket: the body's buffer is full."""
        self._reads_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading if it was paused: aiohttp calls this after each read, and each costs a turn of the parser."""
        if self._reads_paused:
            self._reads_paused = False
            super().resume_reading(resume_parser)


def no_credential() -> bytes:
    """Return no line: the engines ask for no key."""
    return b""


class ConnectionPool:
    """Idle connections to one address, last used first. The limit of requests per group bounds their number."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect_timeout: float,
        clock: Callable[[], float],
        credential: Callable[[], bytes] = no_credential,
    ) -> None:
        self.credential = credential  # a line of each request's head
        self.host = host
        self.port = port
        self._connect_timeout = connect_timeout
        self.clock = clock
        self._idle: list[tuple[Connection, float]] = []
        self._closed = False

    def take(self) -> Connection | None:
        """Return an idle connection that may still be open, or None."""
        oldest = self.clock() - MAX_IDLE
        while self._idle:
            connection, since = self._idle.pop()
            if since >= oldest and connection.is_connected() and not connection.should_close:
                return connection
            connection.close()
        return None

    async def connect(self) -> Connection:
        """Open a connection; raises AttemptError of kind CONNECT, or LOCAL.

        While this process lacks what a connection takes it is tried again, up to the same timeout.
        """
        lacks: OSError | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                while True:
                    try:
                        return await self._open()
                    except OSError as error:
                        if error.errno not in _LOCAL:
                            raise
                        lacks = error
                    await asyncio.sleep(_LOCAL_PAUSE)
        except TimeoutError:
            if lacks is not None:
                detail = f"was not asked: the gateway could not open a connection: {lacks}"
                raise AttemptError(AttemptFault(FaultKind.LOCAL, detail)) from lacks
            detail = f"did not accept a connection within {self._connect_timeout:g} s"
            raise AttemptError(AttemptFault(FaultKind.CONNECT, detail)) from None
        except OSError as error:
            raise AttemptError(AttemptFault(FaultKind.CONNECT, f"is unreachable: {error}")) from error

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(loop), self.host, self.port)
        return connection

    def release(self, connection: Connection) -> None:
        """Keep a connection for the next request if its exchange ended cleanly, else close it."""
        connection.on_progress = connection.body = None
        if self._closed or connection.should_close or not connection.is_connected():
            connection.abort()
        else:
            self._idle.append((connection, self.clock()))

    def close(self) -> None:
        """Close idle connections now, and the others when they are released."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()


class ConnectionPools:
    """One pool per address, as long as discovery names the address."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        clock: Callable[[], float],
        credential: Callable[[], bytes] = no_credential,
    ) -> None:
        self._credential = credential
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._pools: dict[tuple[str, int], ConnectionPool] = {}

    def of(self, host: str, port: int) -> ConnectionPool:
        """Return the pool of an address."""
        pool = self._pools.get((host, port))
        if pool is None:
            pool = ConnectionPool(
                host,
                port,
                connect_timeout=self._connect_timeout,
                clock=self._clock,
                credential=self._credential,
            )
            self._pools[host, port] = pool
        return pool

    def keep_only(self, addresses: set[tuple[str, int]]) -> None:
        """Close the pools of all other addresses."""
        for address in self._pools.keys() - addresses:
            self._pools.pop(address).close()

"""Connections to one engine, kept alive between requests.

aiohttp's ``ResponseHandler`` is the layer under its ClientSession: socket, flow control and the C parser. Using it
without the session costs half the CPU per request (docs/explanation/gateway.md) and, which a session hides, it
is known whether a connection was used before: only then may a closed connection mean "idle for too long".
"""

import asyncio
from collections.abc import Callable

from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader

from llama_serving.gateway.routing.retry_policy import Fault, FaultKind

# Shorter than the 5 s after which uvicorn, the usual server of an engine, closes an idle connection.
MAX_IDLE = 4.0


class AttemptError(Exception):
    """One attempt failed before there was anything to pass on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


class Connection(ResponseHandler):
    """A connection that tells at once, inside the callback that noticed it, when there is news of a body.

    ``body`` is what is being read, ``on_news`` is called after each arrival of data and after the end, good or bad.
    """

    body: StreamReader | None = None
    on_news: Callable[[], None] | None = None
    _held: bool = False

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        super().data_received(data)
        if self.on_news is not None:
            self.on_news()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end of the connection."""
        super().connection_lost(exc)
        if self.on_news is not None:
            self.on_news()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Note a failure, for the reader of the body too.

        aiohttp 3.14 tells only the next reader of a head when the bytes of a body stop being HTTP in its middle, and
        stops its timer: the reader of the body would wait for ever.
        """
        cause = exc if exc_cause is None else exc_cause
        super().set_exception(exc, cause)
        if self.body is not None and not self.body.is_eof() and self.body.exception() is None:
            self.body.set_exception(exc, cause)
        if self.on_news is not None:
            self.on_news()

    def pause_reading(self) -> None:
        """Take no more from the socket: the body's buffer is full."""
        self._held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on, if it was paused: aiohttp asks for it after each read, and each costs a turn of the parser."""
        if self._held:
            self._held = False
            super().resume_reading(resume_parser)


class Pool:
    """Idle connections to one address, the last used first. The limit of requests per group bounds their number."""

    def __init__(self, host: str, port: int, *, connect_timeout: float, clock: Callable[[], float]) -> None:
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
        """Open a connection; raises AttemptError of kind CONNECT."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(lambda: Connection(loop), self.host, self.port)
        except TimeoutError:
            detail = f"did not accept a connection within {self._connect_timeout:g} s"
            raise AttemptError(Fault(FaultKind.CONNECT, detail)) from None
        except OSError as error:
            raise AttemptError(Fault(FaultKind.CONNECT, f"could not be connected to: {error}")) from error
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request if its exchange came to a clean end, else close it."""
        connection.on_news = connection.body = None
        if self._closed or connection.should_close or not connection.is_connected():
            connection.abort()
        else:
            self._idle.append((connection, self.clock()))

    def close(self) -> None:
        """Close what is idle now, and later what is given back."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()


class Pools:
    """One pool per address, for as long as discovery names the address."""

    def __init__(self, *, connect_timeout: float, clock: Callable[[], float]) -> None:
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._pools: dict[tuple[str, int], Pool] = {}

    def of(self, host: str, port: int) -> Pool:
        """Return the pool of an address."""
        pool = self._pools.get((host, port))
        if pool is None:
            pool = Pool(host, port, connect_timeout=self._connect_timeout, clock=self._clock)
            self._pools[host, port] = pool
        return pool

    def keep_only(self, addresses: set[tuple[str, int]]) -> None:
        """Close the pools of all other addresses."""
        for address in self._pools.keys() - addresses:
            self._pools.pop(address).close()

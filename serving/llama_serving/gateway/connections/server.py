"""The server of clients' connections, and the look at each of them once a second."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from llama_serving.gateway.connections.fair_share import FairShare
from llama_serving.gateway.connections.limits import ACCEPTED_AT_A_TIME, BACKLOG, SOCKET_BUFFER
from llama_serving.gateway.connections.protocol import BoundedProtocol
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.http.bad_requests import OnRefusal
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.telemetry.log import LOGGER, fields

#: Seconds between two looks at all connections.
PERIOD: Final = 1.0
_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

Handler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]


class ClientServer(web.Server):
    """aiohttp's server of plain requests, with connections that are bounded."""

    def __init__(self, handler: Handler, *, table: ConnectionTable, share: FairShare, on_refusal: OnRefusal) -> None:
        super().__init__(self._handle, handler_cancellation=True)
        self._handler = handler
        self._table = table
        self._share = share
        self._on_refusal = on_refusal

    def __call__(self) -> BoundedProtocol:
        """Return the protocol of a new connection."""
        return BoundedProtocol(
            self,
            loop=self._loop,
            table=self._table,
            share=self._share,
            on_refusal=self._on_refusal,
            access_log=None,
            auto_decompress=False,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        if not isinstance(protocol, BoundedProtocol):  # the connection has ended
            return await self._handler(request)
        try:
            return await protocol.measured(self._handler(request))
        finally:
            protocol.answered()


async def listen(server: ClientServer, host: str, port: int, **tls: Any) -> asyncio.Server:
    """Listen for clients; connections that come at once are accepted in several turns of the loop.

    ``tls``: what asyncio takes to speak TLS.
    """
    raw = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    listener = await asyncio.get_running_loop().create_server(server, sock=raw, backlog=ACCEPTED_AT_A_TIME, **tls)
    raw.listen(BACKLOG)  # asyncio takes one number for both
    return listener


async def keep_shares(share: FairShare) -> None:
    """Let who waits for others be read on, until cancelled."""
    while True:
        await asyncio.sleep(share.period)
        share.look()


class ConnectionWatch:
    """Closes connections that are too slow, and sheds load where the process nears its limit whatever is counted."""

    def __init__(self, table: ConnectionTable, budget: MemoryBudget) -> None:
        self._table = table
        self._budget = budget

    async def run(self, period: float = PERIOD) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(period)
            self.look(loop.time())
            self._weigh()

    def look(self, now: float) -> None:
        """Close the connections that are given up."""
        for connection in self._table:
            if reason := connection.why_close(now):
                connection.cut(reason)

    def _weigh(self) -> None:
        resident = self._table.limits.resident
        if resident is None:
            return
        used = int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
        is_tight = used > resident
        if is_tight != self._budget.is_tight:
            if is_tight:
                gc.collect()  # what has cycles is seldom looked for otherwise
            LOGGER.warning("memory is nearly used up" if is_tight else "memory is free again", extra=fields(used=used))
        self._budget.is_tight = is_tight

"""The admin port, within bounds of its own: few connections, short heads, no requests that take long.

It has descriptors and memory whatever clients do, because their limits leave some (limits.py).
"""

import asyncio
from typing import Final

from aiohttp import web

#: The operator, Prometheus and the kubelet have a handful.
MOST: Final = 64
_LONGEST_FIELD: Final = 2048
_MOST_FIELDS: Final = 32
# Seconds that a connection may wait for a request, or for the rest of a head.
_IDLE: Final = 75.0
_READ_AHEAD: Final = 4 << 10
_LINGER: Final = 1.0


class _Refuse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close at once."""
        transport.close()


class AdminSite:
    """The port; ``port`` is set once it was started."""

    def __init__(self, app: web.Application) -> None:
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=_IDLE,
            max_line_size=_LONGEST_FIELD,
            max_field_size=_LONGEST_FIELD,
            max_headers=_MOST_FIELDS,
            read_bufsize=_READ_AHEAD,
            lingering_time=_LINGER,
        )

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._protocol, host, port, backlog=MOST, reuse_address=True)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End, idle connections and others."""
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MOST:
            return _Refuse()
        return server()

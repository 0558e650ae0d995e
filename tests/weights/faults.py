"""A proxy in front of a real server that does what networks and overloaded stores do.

One request a connection, so that a fault hits one answer; of the requests it keeps what was asked for.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

_CONNECTION = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost:[^\r]*", re.IGNORECASE)
_RANGE = re.compile(rb"\r\nrange: *bytes=([^\r]*)", re.IGNORECASE)


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose target holds ``target``.

    ``busy``: 429 with ``retry_after``; ``cut``: the connection is reset after ``at`` bytes of the body;
    ``flip``: one bit of the body's byte ``at`` is another.
    """

    kind: Literal["busy", "cut", "flip"]
    target: str = ""
    times: int = 1
    at: int = 0
    retry_after: str = ""


@dataclass(frozen=True)
class Asked:
    """A request that was seen."""

    target: str
    range: str  # such as 0-99; empty for none


@dataclass
class Proxy:
    """Where the proxy listens, what it does, and what it saw."""

    upstream: int
    names_upstream: bool = False  # in the Host header, for a server that answers to its own name only
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    seen: list[Asked] = field(default_factory=list)
    happened: list[Fault] = field(default_factory=list)

    def ranges(self, target: str) -> list[str]:
        """Ranges that were asked for of one file, in order."""
        return [asked.range for asked in self.seen if target in asked.target]

    def _next(self, target: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.target in target:
                fault.times -= 1
                self.happened.append(fault)
                return fault
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            header = await reader.readuntil(b"\r\n\r\n")
            target = header.split(b" ", 2)[1].decode()
            asked = _RANGE.search(header)
            self.seen.append(Asked(target, asked[1].decode() if asked else ""))
            fault = self._next(target)
            if fault and fault.kind == "busy":
                after = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after else ""
                closing = f"{after}Connection: close\r\nContent-Length: 4\r\n\r\nbusy"
                writer.write(f"HTTP/1.1 429 Too Many Requests\r\n{closing}".encode())
                await writer.drain()
                return
            await self._forward(header, writer, fault)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that has read enough goes away
        finally:
            writer.close()

    async def _forward(self, header: bytes, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        reader, upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            if self.names_upstream:
                header = _HOST.sub(f"\r\nHost: 127.0.0.1:{self.upstream}".encode(), header)
            upstream.write(_CONNECTION.sub(b"", header)[:-2] + b"Connection: close\r\n\r\n")
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.write(_CONNECTION.sub(b"", answer)[:-2] + b"Connection: close\r\n\r\n")
            sent = 0
            while piece := await reader.read(65536):
                if fault and sent <= fault.at < sent + len(piece):
                    at = fault.at - sent
                    if fault.kind == "cut":
                        writer.write(piece[:at])
                        await writer.drain()
                        writer.transport.abort()
                        return
                    piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
        finally:
            upstream.close()


@asynccontextmanager
async def proxy(upstream: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy to a port on loopback; with ``tls`` its own side is encrypted."""
    made = Proxy(upstream)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made

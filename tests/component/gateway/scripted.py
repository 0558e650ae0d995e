"""An upstream that plays a script: one coroutine per request, with the socket in its hands."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llama_serving.gateway.routing.endpoint import Endpoint

OK_BODY = b'{"object": "chat.completion"}'
EVENT = b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
PROBE = "llama-gateway-probe"


@dataclass
class Exchange:
    """One request that the upstream got, and the means to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    relayed: asyncio.Event
    keep: bool = True

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def chunk(self, piece: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def until_closed(self) -> None:
        while await self.reader.read(65536):
            pass

    def close(self) -> None:
        self.keep = False

    def reset(self) -> None:
        self.keep = False
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


def head(status: int = 200, *headers: str, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {kind}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(status: int = 200, body: bytes = OK_BODY, *headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head(status, f"content-length: {len(body)}", *headers) + body)

    return script


def stream(*events: bytes, pause: float = 0.0) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        for event in events:
            await exchange.chunk(event)
            await asyncio.sleep(pause)
        await exchange.send(b"0\r\n\r\n")

    return script


@dataclass
class Upstream:
    """Plays ``scripts`` one after the other, then ``then`` for ever. Probes have their own script.

    A test sets ``relayed`` when its client has got a first piece; scripts that break later wait for it.
    """

    scripts: list[Script] = field(default_factory=list)
    then: Script = field(default_factory=answer)
    probe: Script = field(default_factory=answer)
    seen: list[Exchange] = field(default_factory=list)
    probes: int = 0
    connections: int = 0
    open_connections: int = 0
    port: int = 0
    relayed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _handlers: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def endpoint(self, name: str, *, ready: bool = True, ordinal: int = 0, key: str = "", **adapters: str) -> Endpoint:
        """``adapters``: the id of each, by name."""
        assert self.port, "the upstream was not started yet"
        weights = f"weights-of-{name}"
        return Endpoint(key or name, name, ordinal, weights, "127.0.0.1", self.port, ready, adapters=adapters)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            self._handlers.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        exchange = Exchange(method, target, headers, b"", reader, writer, self.relayed)
        if headers.get("user-agent") == PROBE:
            self.probes += 1
            await self.probe(exchange)
            return exchange.keep
        script = self.scripts.pop(0) if self.scripts else self.then
        self.seen.append(exchange)
        if not getattr(script, "leaves_body", False):
            exchange.body = await reader.readexactly(int(headers.get("content-length", "0")))
        await script(exchange)
        return exchange.keep


@asynccontextmanager
async def upstreams(*servers: Upstream) -> AsyncIterator[None]:
    for server in servers:
        await server.start()
    try:
        yield
    finally:
        for server in servers:
            await server.stop()

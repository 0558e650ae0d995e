"""Engines that answer by the seed of a request with garbage, and a probe always well."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.upstream.exchange import STALE_WITHIN
from tests.component.gateway.garbage.answers import SECOND, read
from tests.component.gateway.garbage.mutator import mutated

#: Seconds of a hang, after which the connection is closed. Far less than STALE_WITHIN: a good request that was sent on
#: the same connection meanwhile is then asked again, and is not counted against the group.
HANG = STALE_WITHIN / 4
_MODELS = b'{"data":[{"id":"m","max_model_len":1000}]}'


@dataclass
class GarbageEngine:
    """One group; ``attempts`` are those of each seed, and shared by all groups. ``bugs``: of the engine itself."""

    name: str
    attempts: Counter[int]
    port: int = 0
    bugs: list[BaseException] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def endpoint(self, ordinal: int) -> Endpoint:
        return Endpoint(self.name, self.name, ordinal, "w", "127.0.0.1", self.port, ready=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.bugs.append(error)
            raise
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = first.split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/v1/models":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_MODELS), _MODELS))
            return True
        asked = read(path, body)
        attempt = self.attempts[asked.seed]
        self.attempts[asked.seed] += 1
        answer = mutated(asked, attempt)
        raw = answer.raw()
        step = max(len(raw) // (1, 1, 2, 7, 20)[asked.seed % 5], 1)
        if SECOND.encode() in raw:
            # Behind its answer, at once: what came after the next request was sent, nobody could tell from its answer.
            step = len(raw)
        for at in range(0, len(raw), step):
            writer.write(raw[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        return await _end(answer.end, writer)


async def _end(end: str, writer: asyncio.StreamWriter) -> bool:
    if end == "hang":
        await asyncio.sleep(HANG)
    if end == "reset":
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return end == "keep"

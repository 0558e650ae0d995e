"""The load: closed loops of keep-alive connections over loopback, and what they saw.

Four runs: ``latency`` (one connection), ``throughput`` (some connections, whole answers), ``stream`` (many paced
streams at a time, which our gateway keeps for a continuation) and ``passed`` (the same, which it only passes on).
Each is bounded by a count, not by time, and by a deadline.
"""

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks._upstream import ANSWER, EVENTS, PATH_ANSWER, PATH_STREAM, STREAMED

_BODY = b'{"model":"m","messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":16}'
_STREAM_BODY = b'{"model":"m","prompt":"The group waits for","max_tokens":100,"stream":true}'
_DEADLINE = 120.0
#: What every request carries; only a gateway with keys looks at it.
KEY = b"sk-of-the-benchmark"


@dataclass(frozen=True)
class Run:
    """A kind of load."""

    name: str
    path: str
    connections: int
    requests: int
    body: bytes = _BODY


LATENCY = Run("latency", PATH_ANSWER, 1, 300)
THROUGHPUT = Run("throughput", PATH_ANSWER, 8, 1600)
STREAM = Run("stream", PATH_STREAM, 32, 64, _STREAM_BODY)
PASSED = Run("passed", PATH_STREAM, 32, 64, _STREAM_BODY[:-1] + b',"n":2}')


@dataclass
class Result:
    """Seconds of each request, and the number of streamed events; ``wall`` in seconds."""

    seconds: list[float] = field(default_factory=list)
    events: int = 0
    wall: float = 0.0

    def quantile(self, part: float) -> float:
        """Return the seconds that this part of the requests stayed below."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


async def run(load: Run, port: int) -> Result:
    """Run one load; raises on any answer that is not the expected one."""
    result = Result()
    start = time.perf_counter()
    async with asyncio.timeout(_DEADLINE):
        each = load.requests // load.connections
        await asyncio.gather(*[_client(load, port, count=each, result=result) for _ in range(load.connections)])
    result.wall = time.perf_counter() - start
    return result


async def _client(load: Run, port: int, *, count: int, result: Result) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nauthorization: Bearer %s\r\n"
    head %= load.path.encode(), KEY
    request = head + b"content-length: %d\r\n\r\n%s" % (len(load.body), load.body)
    for _ in range(count):
        start = time.perf_counter()
        writer.write(request)
        body = await _answer(reader)
        result.seconds.append(time.perf_counter() - start)
        expected = STREAMED if load.path == PATH_STREAM else ANSWER
        if body != expected:
            raise RuntimeError(f"port {port}: got {len(body)} bytes for {load.path}, expected {len(expected)}")
        result.events += EVENTS if load.path == PATH_STREAM else 0
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"answer is {head.splitlines()[0]!r}")
    if b"transfer-encoding: chunked" not in head:
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(pieces)

"""Bodies that are costly to read: whatever is in one, everybody else has turns of the loop meanwhile."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.storm.attacks import filled, post
from tests.component.gateway.running import CHAT, Gateway, gateway
from tests.component.gateway.scripted import Upstream, upstreams

#: Seconds of CPU between two turns of the loop. To parse 4 MiB of empty lists in one go takes fifteen times as long.
LONGEST_TURN = 0.06
MIB = 1 << 20
TEXT = "/v1/completions"
RESPONSES = "/v1/responses"
BATCH = "/v1/chat/completions/batch"

BODIES: dict[str, tuple[str, bytes]] = {
    "many messages": (CHAT, filled(b'{"stream":true,"model":"m","messages":[', b"[]", b"]}")),
    "many objects": (CHAT, filled(b'{"stream":true,"messages":[', b"{}", b"]}")),
    "bad words": (CHAT, filled(b'{"stream":true,"bad_words":[', b"[]", b"]}")),
    "token ids": (TEXT, filled(b'{"stream":true,"prompt":[', b"1", b"]}")),
    "many fields": (CHAT, filled(b'{"stream":true,', b'"model":"m"', b"}")),
    "models inside": (CHAT, filled(b'{"stream":true,"messages":[', b'{"model":"m"}', b"]}")),
    "quotes": (CHAT, b'{"stream":true,"messages":"' + b'\\"' * (2 * MIB - 64) + b'"}'),
    "deep": (CHAT, b'{"stream":true,"messages":' + b"[" * (2 * MIB) + b"]" * (2 * MIB) + b"}"),
    "a number": (TEXT, b'{"stream":true,"max_tokens":' + b"9" * (4 * MIB - 64) + b"}"),
    "larger than is looked at": (CHAT, filled(b'{"stream":true,"messages":[', b'{"model":"m"}', b"]}", size=15 * MIB)),
    "input": (RESPONSES, filled(b'{"store":false,"input":[', b"[]", b"]}")),
    "batches": (BATCH, filled(b'{"max_tokens":3,"messages":[[{}', b"],[{}", b"]]}")),
}


@asynccontextmanager
async def longest_turn() -> AsyncIterator[list[float]]:
    """The longest time of CPU between two turns, as the only item. That of other processes does not count."""
    longest = [0.0]

    async def turns() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            longest[0] = max(longest[0], time.thread_time() - before)
            before = time.thread_time()

    turning = asyncio.create_task(turns())
    try:
        yield longest
    finally:
        turning.cancel()


def send(running: Gateway, path: str, body: bytes) -> bytes:
    """Send a request and return the begin of its answer. Blocks."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(post(body, path.encode(), b"Connection: close\r\n"))
        return client.recv(65536)


@pytest.mark.parametrize("kind", BODIES)
async def test_no_body_keeps_the_loop_to_itself(kind: str) -> None:
    path, body = BODIES[kind]
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        async with longest_turn() as longest:
            answer = await asyncio.to_thread(send, running, path, body)
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
        assert longest[0] < LONGEST_TURN
        assert running.server.open_requests == 0

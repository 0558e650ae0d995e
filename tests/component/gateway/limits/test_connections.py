"""Connections of clients: long and slow heads, tunnels, too many of them, requests behind one, slow readers."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.component.gateway.running import CHAT, Gateway, gateway, until
from tests.component.gateway.scripted import OK_BODY, Exchange, Upstream, head, upstreams

REQUEST = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}".encode()
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
INNER = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def hangs(exchange: Exchange) -> None:
    await exchange.until_closed()


@asynccontextmanager
async def connected(
    running: Gateway, begin: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        writer.write(begin)
        yield reader, writer
    finally:
        writer.close()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the gateway closes."""
    received = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                received += piece
    return received


async def is_answered(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        return b" 200 " in await reader.readuntil(b"\r\n\r\n") and bool(await reader.readuntil(b"}"))


def lines(count: int, size: int = 1000) -> bytes:
    return b"".join(b"x-%d: %b\r\n" % (number, b"a" * size) for number in range(count))


@pytest.mark.parametrize("ends", [True, False], ids=["whole", "unfinished"])
@pytest.mark.parametrize("count", [33, 120])
async def test_a_head_of_more_than_32_kib_is_refused(count: int, *, ends: bool) -> None:
    async with gateway() as running:
        raw = b"GET /health HTTP/1.1\r\nhost: x\r\n" + lines(count) + (b"\r\n" if ends else b"")
        async with connected(running, raw) as (reader, _):
            begin, _, body = (await rest_of(reader)).partition(b"\r\n\r\n")
    assert b" 431 " in begin
    assert json.loads(body)["error"]["code"] == "headers_too_large"
    assert "32768" in json.loads(body)["error"]["message"]


async def test_a_head_that_comes_byte_by_byte_is_limited_as_a_whole() -> None:
    async with gateway() as running, connected(running, b"GET /health HTTP/1.1\r\nhost: x\r\n") as (reader, writer):
        for _ in range(33):
            writer.write(lines(1))
            await writer.drain()
            await asyncio.sleep(0.001)
        assert b" 431 " in await rest_of(reader)


async def test_heads_of_up_to_32_kib_pass_and_their_memory_comes_back() -> None:
    upstream = Upstream(then=hangs)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        long = REQUEST.replace(b"host: x\r\n", b"host: x\r\n" + lines(31))
        async with connected(running, long), connected(running, long):
            await until(lambda: len(upstream.seen) == 2)
            assert running.server.held_by_connections > 2 * 31_000 * 2
        await until(lambda: running.server.held_by_connections == 0)


async def test_heads_beyond_the_memory_are_refused_and_short_ones_are_not() -> None:
    upstream = Upstream(then=hangs)
    long = REQUEST.replace(b"host: x\r\n", b"host: x\r\n" + lines(31))
    async with (
        upstreams(upstream),
        gateway(upstream.endpoint("a"), memory_limit=64 << 20) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        readers = [(await stack.enter_async_context(connected(running, long)))[0] for _ in range(20)]
        refused = [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader in readers]
        await until(lambda: sum(task.done() for task in refused) + len(upstream.seen) == 20)
        answers = [task.result() for task in refused if task.done()]
        assert answers
        assert all(b" 429 " in one for one in answers)
        assert upstream.seen
        for task in refused:
            task.cancel()
        async with connected(running, HEALTH) as (reader, _):
            assert await is_answered(reader)


@pytest.mark.parametrize(
    "framing", ["content-length: %d\r\n\r\n%b", "transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("padding", [0, 70_000, 200_000])
async def test_connect_opens_no_tunnel_and_what_follows_is_no_request(framing: str, padding: int) -> None:
    upstream = Upstream()
    inner = INNER + b"A" * padding
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        raw = b"CONNECT /v1/models HTTP/1.1\r\nhost: x\r\n" + framing.encode() % (len(inner), inner)
        async with connected(running, raw) as (reader, _):
            answer = await rest_of(reader)
    assert answer.startswith((b"HTTP/1.1 405 ", b"HTTP/1.0 405 "))
    assert answer.count(b"HTTP/1.") == 1
    assert upstream.seen == []


UPGRADE = b"host: x\r\nconnection: upgrade\r\nupgrade: %b\r\n"
ODD = {
    "websocket": b"POST /v1/completions HTTP/1.1\r\n" + UPGRADE % b"websocket",
    "h2c": b"POST /v1/completions HTTP/1.1\r\n" + UPGRADE % b"h2c",
    "GET": b"GET /v1/models HTTP/1.1\r\nhost: x\r\n",
    "HEAD": b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n",
    "TRACE": b"TRACE /v1/models HTTP/1.1\r\nhost: x\r\n",
}


@pytest.mark.parametrize(
    "framing", ["content-length: %d\r\n\r\n%b", "transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("kind", ODD)
async def test_the_body_of_an_odd_request_is_no_request(kind: str, framing: str) -> None:
    upstream = Upstream()
    inner = INNER + b"A" * 70_000
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        raw = ODD[kind] + framing.encode() % (len(inner), inner)
        async with connected(running, raw) as (reader, writer):
            answers = await reader.readuntil(b"\r\n\r\n")
            writer.write(HEALTH.replace(b"host: x", b"host: x\r\nconnection: close"))
            answers += await rest_of(reader)
    assert answers.count(b"HTTP/1.") == 2
    assert answers.endswith(b'{"status": "ok"}')
    assert all(one.body == inner and "upgrade" not in one.headers for one in upstream.seen)
    assert len(upstream.seen) <= 1


@pytest.mark.parametrize(
    "begin", [b"", b"GET /hea", HEALTH + b"GET /hea"], ids=["nothing", "half", "half of the second"]
)
async def test_a_head_that_does_not_come_ends_the_connection(begin: bytes) -> None:
    async with gateway(head_timeout=0.1) as running:
        async with connected(running, begin) as (reader, _):
            assert (b" 200 " in await rest_of(reader)) is begin.startswith(HEALTH)
        assert running.server.closed_connections["slow_head"] == 1


async def test_a_kept_connection_may_be_idle_for_longer_than_a_head_takes() -> None:
    async with (
        gateway(head_timeout=0.1) as running,
        connected(running, HEALTH) as (reader, writer),
        connected(running),
    ):
        assert await is_answered(reader)
        await until(lambda: running.server.closed_connections["slow_head"] == 1, seconds=20)
        writer.write(HEALTH)
        assert await is_answered(reader)


async def test_too_many_connections_cost_those_that_ask_nothing() -> None:
    upstream = Upstream(then=hangs)
    async with (
        upstreams(upstream),
        gateway(upstream.endpoint("a"), max_connections=8, max_connections_per_peer=8) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        busy = await stack.enter_async_context(connected(running, REQUEST))
        await until(lambda: upstream.seen)
        for _ in range(30):
            await stack.enter_async_context(connected(running, b"GET /hea"))
        await until(lambda: running.server.closed_connections["peer_full"] > 20)
        async with connected(running, HEALTH) as (reader, _):
            assert await is_answered(reader)
        assert (await running.load()).in_flight == 1
        assert not busy[0].at_eof()
        assert running.server.connections <= 8


async def test_one_address_cannot_take_every_place() -> None:
    async with gateway(max_connections=8, max_connections_per_peer=4) as running, contextlib.AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(connected(running))
        await until(lambda: running.server.closed_connections["peer_full"] == 8)
        assert running.server.connections == 4


@pytest.mark.parametrize("behind", [40, 2000], ids=["little", "much"])
async def test_a_client_that_leaves_with_requests_behind_one_is_noticed(behind: int) -> None:
    upstream = Upstream(then=hangs)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        async with connected(running, REQUEST * 2 + REQUEST * behind):
            await until(lambda: upstream.seen)
        await until(lambda: upstream.open_connections == 0)
        await until(lambda: running.server.open_requests == 0)
        assert len(upstream.seen) == 1
        assert (await running.totals())["cancelled"] == 1
        await until(lambda: running.server.held_by_connections == 0)


async def test_many_requests_on_one_connection_are_answered_in_order() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        body = b"a" * 30_000
        large = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        async with connected(running) as (reader, writer):
            writer.write(large * 40 + HEALTH.replace(b"host: x", b"host: x\r\nconnection: close"))
            answers = await rest_of(reader)
    assert answers.count(OK_BODY) == 40
    assert answers.endswith(b'{"status": "ok"}')


@pytest.mark.parametrize("size", [None, 1 << 20], ids=["stream", "whole"])
async def test_a_client_that_takes_its_answer_too_slowly_is_cut_off(size: int | None) -> None:
    async def floods(exchange: Exchange) -> None:
        if size is not None:
            await exchange.send(head(200, f"content-length: {size}"), b'{"object": "%b"}' % (b"x" * (size - 14)))
            return
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        while True:
            await exchange.chunk(b"data: x\n\n" * 7000)

    upstream = Upstream(then=floods)
    async with (
        upstreams(upstream),
        gateway(upstream.endpoint("a"), client_grace=0.1, min_client_rate=1 << 30, idle_timeout=60) as running,
    ):
        raw = socket.create_connection(("127.0.0.1", running.port))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(REQUEST)
        await until(lambda: running.server.closed_connections["slow_reader"] == 1)
        await until(lambda: running.server.open_requests == 0)
        assert running.server.held_by_connections == 0
        raw.close()


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async with gateway(client_grace=0.2, min_client_rate=1 << 20) as running:
        begin = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
        async with connected(running, begin) as (reader, writer):
            answer = asyncio.create_task(reader.readuntil(b"}}"))
            while not answer.done():
                writer.write(b"a")
                await asyncio.sleep(0.01)
        assert b" 408 " in await answer
        assert b"comes too slowly" in await answer

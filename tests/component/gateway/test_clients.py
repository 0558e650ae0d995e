"""Clients that go away, are slow, send too much or speak an older HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.component.gateway.running import CHAT, Gateway, gateway, until
from tests.component.gateway.scripted import EVENT, OK_BODY, Exchange, Upstream, answer, head, stream, upstreams

REQUEST = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}".encode()


async def hangs(exchange: Exchange) -> None:
    await exchange.until_closed()


async def streams_for_ever(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    while True:
        await exchange.chunk(EVENT)
        await asyncio.sleep(0.001)


async def connect(running: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", running.port)


async def is_idle(running: Gateway) -> bool:
    load = await running.load()
    return (load.in_flight, load.waiting) == (0, 0)


async def test_a_client_that_goes_away_before_the_first_byte_stops_the_engine() -> None:
    upstream = Upstream(then=hangs)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        _, writer = await connect(running)
        writer.write(REQUEST)
        await until(lambda: upstream.seen)
        writer.close()
        await until(lambda: upstream.open_connections == 0)
        await until(lambda: is_idle(running))
        assert await running.totals() == {"cancelled": 1}


async def test_a_client_that_goes_away_within_a_stream_stops_the_engine() -> None:
    upstream = Upstream(then=streams_for_ever)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(REQUEST)
        await reader.readuntil(EVENT)
        writer.close()
        await until(lambda: upstream.open_connections == 0)
        await until(lambda: is_idle(running))
        assert await running.totals() == {"cancelled": 1}


async def test_a_client_that_goes_away_while_it_waits_leaves_the_line() -> None:
    upstream = Upstream([hangs])
    async with upstreams(upstream), gateway(upstream.endpoint("a"), max_in_flight_per_group=1) as running:
        _, first = await connect(running)
        first.write(REQUEST)
        await until(lambda: upstream.seen)
        _, second = await connect(running)
        second.write(REQUEST)
        await until(lambda: running.server.load().waiting == 1)
        third = asyncio.create_task(running.request())
        await until(lambda: running.server.load().waiting == 2)
        second.close()
        await until(lambda: running.server.load().waiting == 1)
        first.close()
        assert (await third).status == 200
        assert await running.totals() == {"cancelled": 2, "finished": 1}
    assert len(upstream.seen) == 2


async def test_an_engine_is_not_read_faster_than_its_client_reads() -> None:
    sent = 0

    async def floods(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(head(200, "transfer-encoding: chunked"))
        while True:
            await exchange.chunk(b"x" * 65536)
            sent += 65536

    upstream = Upstream(then=floods)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        raw = socket.create_connection(("127.0.0.1", running.port))
        raw.sendall(REQUEST)
        await until(lambda: sent)
        before = -1
        while before != sent:  # until all buffers on the way are full
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 32 << 20
        raw.close()
        await until(lambda: upstream.open_connections == 0)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_client_that_is_slow_gets_every_byte_in_order(chunked: bool) -> None:
    whole = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))

    async def sends(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked" if chunked else f"content-length: {len(whole)}"))
        for start in range(0, len(whole), 50_001):
            piece = whole[start : start + 50_001]
            await (exchange.chunk(piece) if chunked else exchange.send(piece))
        await exchange.send(b"0\r\n\r\n" if chunked else b"")

    upstream = Upstream(then=sends)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        async with running.session.post(f"http://127.0.0.1:{running.port}{CHAT}", data=b"{}") as response:
            received = bytearray()
            async for piece in response.content.iter_chunked(8192):
                received += piece
                if len(received) % 5 == 0:
                    await asyncio.sleep(0)
                elif len(received) % 97 == 0:
                    await asyncio.sleep(0.002)
        assert bytes(received) == whole
        assert await running.totals() == {"finished": 1}
    assert upstream.connections == 1


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def floods(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked"))
        while True:
            await exchange.chunk(b"x" * 65536)

    upstream = Upstream(then=floods)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle_timeout=0.3) as running:
        raw = socket.create_connection(("127.0.0.1", running.port))
        raw.sendall(REQUEST)
        await until(lambda: upstream.seen)
        await until(lambda: is_idle(running))
        assert await running.totals() == {"cancelled": 1}
        raw.close()


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent() -> None:
    async with gateway(max_body=100) as running:
        reader, writer = await connect(running)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 101\r\n\r\n")
        raw = await reader.readuntil(b"}}")
        assert raw.startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_a_body_that_turns_out_too_large_is_refused() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 50

    async with gateway(max_body=100) as running:
        got = await running.request(data=pieces())
        assert (got.status, got.error["code"]) == (413, "request_too_large")


async def test_bodies_are_bounded_in_sum() -> None:
    upstream = Upstream([hangs])
    async with upstreams(upstream), gateway(upstream.endpoint("a"), max_held=100, max_in_flight_per_group=1) as running:
        first = asyncio.create_task(running.request(data=b"x" * 60))
        await until(lambda: upstream.seen)
        got = await running.request(data=b"x" * 60)
        assert (got.status, got.error["code"]) == (429, "gateway_full")
        first.cancel()
        await until(lambda: is_idle(running))
        assert (await running.request(data=b"x" * 60)).status == 200


async def test_a_client_that_waits_for_100_gets_it() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readuntil(OK_BODY)).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert (upstream.seen[0].body, "expect" in upstream.seen[0].headers) == (b"{}", False)


async def test_a_body_that_does_not_come_times_out() -> None:
    async with gateway(idle_timeout=0.1) as running:
        reader, writer = await connect(running)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_body_that_stops_being_http_ends_the_connection_and_reaches_no_engine() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle_timeout=0.3) as running:
        reader, writer = await connect(running)
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nno chunk\r\n"
        )
        async with asyncio.timeout(10):
            raw = await reader.read()
        assert raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"HTTP/1.1 408 "))
        writer.close()
    assert upstream.seen == []


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c: d\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["two framings", "two lengths", "folded header"],
)
async def test_requests_that_could_be_read_in_two_ways_reach_no_engine(head: bytes) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(head)
        assert (await reader.readline()).split(b" ")[1] == b"400"
        writer.close()
    assert upstream.seen == []


async def test_requests_that_are_no_http_get_400() -> None:
    async with gateway() as running:
        reader, writer = await connect(running)
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.")
        writer.close()


async def test_http_1_0_gets_its_answer_and_the_end_of_the_connection() -> None:
    upstream = Upstream(then=stream(EVENT, EVENT))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(b"GET /v1/models HTTP/1.0\r\n\r\n")
        raw = await reader.read()
        writer.close()
    assert raw.endswith(b"\r\n\r\n" + EVENT * 2)


async def test_http_1_0_sees_a_broken_answer_as_a_reset() -> None:
    upstream = Upstream()

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked"))
        await exchange.chunk(b"half")
        await upstream.relayed.wait()
        exchange.close()

    upstream.then = breaks
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(b"GET /v1/models HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"half")
        upstream.relayed.set()
        try:
            ended = await reader.read()
        except ConnectionResetError:
            ended = b"reset"
        writer.close()
        assert ended == b"reset"


async def test_several_requests_on_one_connection_at_once_are_answered_in_order() -> None:
    bodies = [b'{"a":1}', b'{"a":2}', b'{"a":3}']
    upstream = Upstream([answer(200, body) for body in bodies])
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await connect(running)
        writer.write(REQUEST * 2 + REQUEST.replace(b"host: x", b"host: x\r\nconnection: close"))
        raw = await reader.read()
        writer.close()
    assert [part[:7] for part in raw.split(b"\r\n\r\n")[1:]] == bodies

"""Faults of connecting, and of connections that are kept between requests."""

import asyncio
import io
import socket

from tests.component.gateway.running import gateway, until
from tests.component.gateway.scripted import OK_BODY, Exchange, Upstream, answer, upstreams


async def answers_and_closes(exchange: Exchange) -> None:
    await answer()(exchange)
    exchange.close()


async def closes(exchange: Exchange) -> None:
    exchange.close()


async def test_connections_are_kept_and_used_again() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        for _ in range(5):
            assert (await running.request()).body == OK_BODY
    assert (len(upstream.seen), upstream.connections) == (5, 1)


async def test_a_kept_connection_that_the_engine_closes_as_we_use_it_costs_nothing() -> None:
    upstream = Upstream([answer(), closes])
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert [(await running.request()).status for _ in range(2)] == [200, 200]
        assert await running.totals() == {"finished": 2}
        load = await running.load()
        assert not load.groups[0].ejected
    assert upstream.connections == 2


async def test_a_kept_connection_that_was_closed_before_is_not_used() -> None:
    upstream = Upstream([answers_and_closes])
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request()
        await until(lambda: upstream.open_connections == 0)
        assert (await running.request()).status == 200
        assert await running.totals() == {"finished": 2}


async def test_a_fresh_connection_that_dies_is_a_failure_of_the_group() -> None:
    upstream = Upstream([closes, closes])
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert (await running.request()).status == 200
        assert await running.totals() == {"finished": 1, "retried": 2}
    assert upstream.probes == 2


async def test_a_request_that_breaks_every_engine_is_stopped_with_a_sentence() -> None:
    upstream = Upstream(then=closes)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request()
        assert got.status == 502
        assert got.error["code"] == "group_failed"
        assert got.error["message"].startswith("group a closed the connection before the first byte")
    assert len(upstream.seen) == 3


async def test_a_group_that_refuses_is_left_out_and_probed_back_in() -> None:
    bad, good = Upstream(), Upstream()
    async with upstreams(bad, good), gateway(bad.endpoint("bad"), good.endpoint("good")) as running:
        await bad.stop()
        assert [(await running.request()).status for _ in range(10)] == [200] * 10
        assert len(good.seen) == 10
        assert (await running.totals())["retried"] == 1
        await bad.start()
        await until(lambda: bad.probes)
        await until(lambda: not running.server.load().groups[0].ejected)
        for _ in range(4):
            await running.request()
        assert len(bad.seen) == 2


async def test_the_only_group_refuses_and_the_request_waits_until_it_is_back() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await upstream.stop()
        request = asyncio.create_task(running.request())
        await until(lambda: running.server.load().waiting == 1)
        await upstream.start()
        assert (await request).status == 200
        assert await running.totals() == {"finished": 1, "retried": 1}


async def test_the_only_group_refuses_until_the_deadline() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), queue_timeout=0.4) as running:
        await upstream.stop()
        got = await running.request()
        assert (got.status, got.error["code"]) == (503, "no_group")
        assert "1 groups known, 1 ready, 1 of those ejected" in got.error["message"]
        assert "failed attempts: 1, last: group a is unreachable" in got.error["message"]
        assert await running.totals() == {"rejected_deadline": 1, "retried": 1}


async def test_a_group_that_takes_no_connection_times_out_and_another_answers() -> None:
    good = Upstream()
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with upstreams(good):
            stuck = Upstream(port=full.getsockname()[1]).endpoint("stuck")
            async with gateway(stuck, good.endpoint("good"), connect_timeout=0.2) as running:
                got = await running.request()
                assert (got.status, got.headers["x-llama-weights"]) == (200, "weights-of-good")
                assert await running.totals() == {"finished": 1, "retried": 1}


async def test_an_engine_that_refuses_a_large_body_early_is_heard() -> None:
    async def too_large(exchange: Exchange) -> None:
        await answer(413, b"too large")(exchange)
        await exchange.reader.readexactly(8 << 20)

    too_large.leaves_body = True  # type: ignore[attr-defined]
    upstream = Upstream(then=too_large)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request(data=io.BytesIO(b"x" * (8 << 20)))
        assert (got.status, got.body) == (413, b"too large")


async def test_a_group_that_discovery_drops_gets_its_connections_closed() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request()
        assert upstream.open_connections == 1
        running.know()
        await until(lambda: upstream.open_connections == 0)

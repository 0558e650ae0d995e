"""The queue with real HTTP: holding, order, bound, deadline, and what the internal port says meanwhile."""

import asyncio

import pytest

from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Script, Upstream, answer, upstreams


def when(event: asyncio.Event) -> Script:
    async def script(exchange: Exchange) -> None:
        await event.wait()
        await answer()(exchange)

    return script


async def arrive_in_order(running: Gateway, count: int) -> list[asyncio.Task[object]]:
    """Start requests whose bodies say in which order the gateway got them."""
    tasks: list[asyncio.Task[object]] = []
    for number in range(count):
        tasks.append(asyncio.create_task(running.request(data=str(number).encode())))
        await until(lambda n=number: running.server.load().waiting >= n)  # type: ignore[misc]
    return tasks


async def test_requests_are_held_until_a_group_is_ready_and_served_in_order_of_arrival() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(max_in_flight_per_group=1) as running:
        running.know()
        tasks = await arrive_in_order(running, 5)
        await until(lambda: running.server.load().waiting == 5)
        running.know(upstream.endpoint("a", ready=False))
        assert running.server.load().waiting == 5
        running.know(upstream.endpoint("a"))
        await asyncio.gather(*tasks)
        assert await running.totals() == {"finished": 5}
    assert [exchange.body for exchange in upstream.seen] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_group_never_gets_more_than_its_limit() -> None:
    now, most = 0, 0

    async def counts(exchange: Exchange) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        await answer()(exchange)

    upstream = Upstream(then=counts)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), max_in_flight_per_group=3) as running:
        await asyncio.gather(*[running.request() for _ in range(60)])
    assert most == 3


async def test_requests_spread_over_the_groups() -> None:
    first, second = Upstream(), Upstream()
    async with upstreams(first, second), gateway(first.endpoint("a"), second.endpoint("b")) as running:
        for _ in range(10):
            await running.request()
    assert (len(first.seen), len(second.seen)) == (5, 5)


async def test_one_more_than_may_wait_gets_429_with_retry_after() -> None:
    async with gateway(max_queue_length=2) as running:
        running.know()
        tasks = [asyncio.create_task(running.request()) for _ in range(2)]
        await until(lambda: running.server.load().waiting == 2)
        got = await running.request()
        assert (got.status, got.error["code"], got.error["type"]) == (429, "queue_full", "rate_limit_error")
        assert 1 <= int(got.headers["retry-after"]) <= 60
        assert (await running.load()).totals["rejected_full"] == 1
        for task in tasks:
            task.cancel()


async def test_the_deadline_gives_503_with_the_numbers() -> None:
    async with gateway(queue_timeout=0.2) as running:
        running.know()
        got = await running.request()
        assert (got.status, got.error["code"], got.error["type"]) == (503, "no_group", "server_error")
        assert got.error["message"] == (
            "no group became available within 0.2 s: 0 groups known, 0 ready, 0 of those ejected after failures, "
            "0 of 0 slots in use, 1 requests waiting"
        )
        assert got.headers["retry-after"] == "60", "nobody knows how long a start takes"
        assert await running.totals() == {"rejected_deadline": 1}


@pytest.mark.parametrize(("told", "header"), [("240", "240"), ("0", "1"), ("9e9", "60"), ("-1", "60"), ("soon", "60")])
async def test_a_client_comes_back_when_the_operator_expects_a_group(told: str, header: str) -> None:
    async with gateway(queue_timeout=0.2) as running:
        running.know()
        assert (await running.admin(f"/load?expectedStart={told}")).status == 200
        got = await running.request()
        assert (got.status, got.headers["retry-after"]) == (503, header)


async def test_a_group_that_leaves_the_rotation_gets_nothing_more_and_ends_what_it_has() -> None:
    release = asyncio.Event()
    old, new = Upstream(then=when(release)), Upstream()
    async with upstreams(old, new), gateway(old.endpoint("old")) as running:
        running_there = asyncio.create_task(running.request())
        await until(lambda: old.seen)
        running.know(old.endpoint("old", ready=False), new.endpoint("new"))
        assert [(await running.request()).status for _ in range(3)] == [200] * 3
        load = await running.load()
        assert {group.name: (group.ready, group.in_flight) for group in load.groups} == {
            "old": (False, 1),
            "new": (True, 0),
        }
        release.set()
        assert (await running_there).status == 200
    assert (len(old.seen), len(new.seen)) == (1, 3)


async def test_a_group_that_is_ready_again_is_used_although_it_was_ejected() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), ejection=60) as running:
        await upstream.stop()
        request = asyncio.create_task(running.request())
        await until(lambda: running.server.load().waiting == 1)
        await upstream.start()
        running.know(upstream.endpoint("a", ready=False))
        running.know(upstream.endpoint("a"))
        assert (await request).status == 200


async def test_the_admin_port() -> None:
    release = asyncio.Event()
    upstream = Upstream(then=when(release))
    async with upstreams(upstream), gateway(max_in_flight_per_group=1) as running:
        assert (await running.admin("/live")).status == 200
        assert (await running.admin("/ready")).status == 503
        running.know()
        assert (await running.admin("/ready")).status == 200
        running.know(upstream.endpoint("a", ordinal=3))
        tasks = [asyncio.create_task(running.request()) for _ in range(3)]
        await until(lambda: running.server.load().waiting == 2)
        await until(lambda: running.server.load().oldest_wait > 0)
        load = await running.load()
        assert (load.in_flight, load.draining) == (1, False)
        group = load.groups[0]
        assert (group.name, group.group, group.weights, group.ready, group.ejected, group.in_flight) == (
            "a",
            3,
            "weights-of-a",
            True,
            False,
            1,
        )
        text = (await running.admin("/metrics")).body.decode()
        assert 'llama_gateway_in_flight{group="a"} 1.0\n' in text
        assert "llama_gateway_waiting 2.0\n" in text
        release.set()
        await asyncio.gather(*tasks)
        text = (await running.admin("/metrics")).body.decode()
        assert 'llama_gateway_requests_total{code="200"} 3.0\n' in text
        assert "llama_gateway_wait_seconds_count 3.0\n" in text


@pytest.mark.parametrize("path", ["/v1/models", "/", "/nothing"])
async def test_the_admin_port_serves_nothing_else(path: str) -> None:
    async with gateway() as running:
        assert (await running.admin(path)).status == 404


async def test_who_would_be_late_gets_429_at_once_with_the_numbers() -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await answer()(exchange)

    upstream = Upstream(then=slow)
    async with (
        upstreams(upstream),
        gateway(upstream.endpoint("a"), max_in_flight_per_group=1, shed_after=0.9) as running,
    ):
        for _ in range(5):
            await running.request()
        tasks = await arrive_in_order(running, 2)
        got = await running.request()
        assert (got.status, got.error["code"], got.error["type"]) == (429, "would_be_late", "rate_limit_error")
        assert "it would wait about 1 s for a group, and gateway.shedAfterSeconds is 0.9" in got.error["message"]
        assert got.headers["retry-after"] == "1"
        await asyncio.gather(*tasks)
        assert await running.totals() == {"finished": 7, "rejected_late": 1}
        assert running.server.load().arrived.requests == 8

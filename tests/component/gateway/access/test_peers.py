"""Several gateways keep one limit, over real HTTP between their admin ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from llama_serving.gateway.access import peers
from llama_serving.gateway.access.peers import gateway_url
from tests.component.gateway.access.world import ask, key, keys, let_in
from tests.component.gateway.apiserver import pod
from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Upstream, answer, upstreams

SOON = 0.05


@asynccontextmanager
async def several(upstream: Upstream, count: int, **limits: int) -> AsyncIterator[list[Gateway]]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(upstreams(upstream))
        found = [await stack.enter_async_context(gateway(upstream.endpoint("a"))) for _ in range(count)]
        tasks = []
        for running in found:
            let_in(running, keys(key("a", **limits)))
            running.server.access.peers.know({str(one.port): admin_url(one) for one in found})
            tasks.append(asyncio.create_task(running.server.access.peers.run()))
        await until(lambda: all(one.server.access.peers.reached == count - 1 for one in found))
        yield found
        for task in tasks:
            task.cancel()


def admin_url(running: Gateway) -> str:
    return f"http://127.0.0.1:{running.admin_port}"


def requests_left(running: Gateway) -> float:
    account = running.server.access.gate.accounts.get("a")
    assert account is not None
    assert account.requests is not None
    return account.requests.level


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "EXCHANGE", SOON)
    monkeypatch.setattr(peers, "UNREACHED_AFTER", 4 * SOON)


async def test_what_one_gateway_lets_in_all_know_of() -> None:
    async with several(Upstream(), 3, requests_per_minute=30) as gateways:
        assert [(await ask(gateways[0], "a")).status for _ in range(5)] == [200] * 5
        await until(lambda: all(requests_left(one) < 26.5 for one in gateways))
        text = (await gateways[1].admin("/metrics")).body.decode()
        assert "llama_gateway_peers 2.0" in text
        assert "llama_gateway_peers_reached 2.0" in text


async def test_a_burst_at_all_gateways_at_once_overruns_the_limit_by_one_request_each_at_most() -> None:
    async with several(Upstream(), 3, requests_per_minute=12) as gateways:
        got = await asyncio.gather(*(ask(one, "a") for one in gateways for _ in range(20)))
        let = sum(answer.status == 200 for answer in got)
        assert 9 <= let <= 12 + 2 + 1  # and the one that a few exchanges refill
        assert all(answer.status in (200, 429) for answer in got)


async def test_concurrent_requests_are_counted_over_all_gateways() -> None:
    release = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await release.wait()
        await answer()(exchange)

    upstream = Upstream(then=held)
    async with several(upstream, 2, concurrent_requests=2) as (first, second):
        running = [asyncio.create_task(ask(first, "a"))]
        await until(lambda: len(upstream.seen) == 1)
        account = second.server.access.gate.accounts.get("a")
        assert account is not None
        await until(lambda: account.elsewhere == 1)
        running.append(asyncio.create_task(ask(second, "a")))
        await until(lambda: len(upstream.seen) == 2)
        assert (await ask(second, "a")).status == 429
        release.set()
        await asyncio.gather(*running)
        await until(lambda: account.elsewhere == 0)
        assert (await ask(second, "a")).status == 200


async def test_a_gateway_that_is_cut_off_keeps_its_share() -> None:
    async with several(Upstream(), 2, requests_per_minute=20) as (first, second):
        first.server.access.peers.know({"gone": "http://127.0.0.1:9", "far": admin_url(second)})
        await until(lambda: first.server.access.peers.known == 2)
        await until(lambda: requests_left(first) < 13.5, shows=lambda: requests_left(first))
        assert requests_left(second) > 19


async def test_a_gateway_that_starts_again_refills_nothing() -> None:
    upstream = Upstream()
    async with several(upstream, 2, requests_per_minute=10) as (first, _):
        for _ in range(4):
            await ask(first, "a")
        async with gateway(upstream.endpoint("a")) as late:
            let_in(late, keys(key("a", requests_per_minute=10)))
            assert requests_left(late) == 10
            late.server.access.peers.know({"first": admin_url(first)})
            task = asyncio.create_task(late.server.access.peers.run())
            await until(lambda: requests_left(late) < 7.5)
            task.cancel()


async def test_a_gateway_knows_itself_under_another_name() -> None:
    async with several(Upstream(), 1, requests_per_minute=10) as (one,):
        await until(lambda: one.server.access.peers.known == 0)
        assert requests_left(one) == 10


async def test_what_another_says_is_read_in_bounds() -> None:
    upstream = Upstream(then=answer(200, b'{"instance": "x", "clients": {' + b" " * (2 << 20) + b"}}"))
    async with upstreams(upstream), gateway() as running:
        let_in(running, keys(key("a", requests_per_minute=10)))
        running.server.access.peers.know({"odd": f"http://127.0.0.1:{upstream.port}"})
        task = asyncio.create_task(running.server.access.peers.run())
        await until(lambda: len(upstream.seen) > 2)
        assert running.server.access.peers.reached == 0
        assert not task.done()
        task.cancel()


def test_ready_gateways_are_asked() -> None:
    assert gateway_url(pod("g-0", ip="10.0.0.7")) == ("g-0", "http://10.0.0.7:9000")
    assert gateway_url(pod("g-0", ip="fd00::7")) == ("g-0", "http://[fd00::7]:9000")
    assert gateway_url(pod("g-0", ip="")) is None
    assert gateway_url(pod("g-0", ready=False)) is None
    assert gateway_url(pod("g-0", deletionTimestamp="2026-01-01T00:00:00Z")) is None

"""Many clients while groups come, go, refuse, break and are busy: nobody but those who left goes without an answer."""

import asyncio
import random

from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import OK_BODY, Exchange, Upstream, answer, upstreams

CLIENTS = 40
REQUESTS = 40


def mostly_works(chance: random.Random) -> Upstream:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(chance.random() * 0.004)
        await answer(503 if chance.random() < 0.05 else 200)(exchange)

    return Upstream(then=script)


async def client(running: Gateway, chance: random.Random, seen: list[object]) -> None:
    for _ in range(REQUESTS):
        request = asyncio.create_task(running.request())
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() * 0.01)
            request.cancel()
        try:
            got = await request
        except asyncio.CancelledError:
            seen.append("left")
        else:
            seen.append(got.status if got.body == OK_BODY else got)


async def disturb(running: Gateway, chance: random.Random, groups: list[Upstream]) -> None:
    while True:
        victim = chance.choice(groups)
        await victim.stop()
        await asyncio.sleep(0.02)
        await victim.start()
        out = chance.choice(groups)
        running.know(*[group.endpoint(str(group.port), ready=group is not out) for group in groups])
        await asyncio.sleep(0.02)
        running.know(*[group.endpoint(str(group.port)) for group in groups])
        await asyncio.sleep(0.02)


async def test_a_storm() -> None:
    chance = random.Random(1)
    groups = [mostly_works(chance) for _ in range(3)]
    seen: list[object] = []
    async with upstreams(*groups):
        endpoints = [group.endpoint(str(group.port)) for group in groups]
        async with gateway(*endpoints, max_in_flight_per_group=6) as running:
            disturbance = asyncio.create_task(disturb(running, chance, groups))
            await asyncio.gather(*[client(running, chance, seen) for _ in range(CLIENTS)])
            disturbance.cancel()
            await asyncio.gather(disturbance, return_exceptions=True)
            await until(lambda: running.server.load().in_flight == 0, shows=running.server.load)
            totals = running.server.load().totals
    assert len(seen) == CLIENTS * REQUESTS
    assert set(map(str, seen)) == {"200", "left"}
    assert totals["finished"] >= seen.count(200)
    assert totals["finished"] + totals["cancelled"] <= len(seen)
    assert totals["retried"] > 0

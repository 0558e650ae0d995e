"""Whatever bytes an engine sends, by seed: a client gets a good answer, an error, or an answer that is broken off."""

import asyncio
import resource
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.component.gateway.garbage.client import ask, outcome, question
from tests.component.gateway.garbage.engine import GarbageEngine
from tests.component.gateway.garbage.mutator import is_good
from tests.component.gateway.running import Gateway, gateway, until
from tests.soak import SOAK

SEEDS = range(20_000 if SOAK else 400)
AT_A_TIME = 30
LIMITS = {
    "first_byte_timeout": 5,
    "idle_timeout": 5,
    "ejection": 0.02,
    "queue_timeout": 20,
    "max_in_flight_per_group": 64,
}
#: Bytes that the process may grow by, whatever comes: engine, gateway and clients are in it.
GROWTH = 128 << 20


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def one(running: Gateway, seed: int, *, seen: Counter[str], wrong: list[str]) -> None:
    kind, path, body = question(seed)
    try:
        got = await ask(running.port, path, body, seconds=60)
        became = outcome(seed, got)
    except (AssertionError, ValueError, LookupError, TypeError, AttributeError, TimeoutError) as error:
        wrong.append(f"{seed} ({kind}): {type(error).__name__} {str(error)[:300]}")
        return
    if is_good(seed) and became != "answer":
        wrong.append(f"{seed} ({kind}): {became} although every engine answers it: {got.status} {got.body[:300]!r}")
    seen[became] += 1


@pytest.mark.timeout(3600 if SOAK else 240)
async def test_garbage_of_engines() -> None:
    attempts: Counter[int] = Counter()
    engines = [GarbageEngine(name, attempts) for name in ("a", "b", "c")]
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        for engine in engines:
            await stack.enter_async_context(engine.running())
        endpoints = [engine.endpoint(ordinal) for ordinal, engine in enumerate(engines)]
        running = await stack.enter_async_context(gateway(*endpoints, **LIMITS))
        room = asyncio.Semaphore(AT_A_TIME)

        async def turn(seed: int) -> None:
            async with room:
                await one(running, seed, seen=seen, wrong=wrong)

        await asyncio.gather(*(turn(seed) for seed in SEEDS[:100]))
        before = memory()
        for start in range(100, len(SEEDS), 1000):
            await asyncio.gather(*(turn(seed) for seed in SEEDS[start : start + 1000]))
        assert memory() - before < GROWTH
        await until(lambda: running.server.open_requests == 0)
        load = running.server.load()
        assert (load.in_flight, load.waiting) == (0, 0)
    assert wrong == []
    assert [bug for engine in engines for bug in engine.bugs] == []
    assert seen["answer"] > len(SEEDS) * 0.4, seen
    assert seen["error"] > 0
    assert seen["broken"] > 0

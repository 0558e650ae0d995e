"""An idle engine is asked for a token; a busy one, or one that is swapped, is not."""

import asyncio
from dataclasses import dataclass, field

import pytest

from llama_serving.cell.replica.idle_probe import IDLE, probe_for_ever

LOOKS = int(IDLE / 0.5)


@dataclass
class Engine:
    """An engine and its clock, of half seconds; the test ends by the last one."""

    looks: int
    busy: set[int] = field(default_factory=set)
    swapping: set[int] = field(default_factory=set)
    now: int = 0
    probes: list[tuple[int, str]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.now += round(seconds / 0.5)
        if self.now > self.looks:
            raise asyncio.CancelledError

    async def probe(self, name: str) -> None:
        self.probes.append((self.now, name))


async def probed(engine: Engine) -> list[tuple[int, str]]:
    with pytest.raises(asyncio.CancelledError):
        await probe_for_ever(
            engine.probe,
            unfinished=lambda: int(engine.now in engine.busy),
            may_ask=lambda: engine.now not in engine.swapping,
            sleep=engine.sleep,
        )
    return engine.probes


async def test_one_probe_for_each_idle_spell() -> None:
    assert await probed(Engine(2 * LOOKS + 3)) == [(LOOKS, "idle-probe-1"), (2 * LOOKS, "idle-probe-2")]


@pytest.mark.parametrize("moment", [1, LOOKS // 2, LOOKS])
async def test_a_request_or_a_swap_begins_the_spell_anew(moment: int) -> None:
    for engine in (Engine(LOOKS + moment, busy={moment}), Engine(LOOKS + moment, swapping={moment})):
        assert await probed(engine) == [(LOOKS + moment, "idle-probe-1")]


async def test_a_probe_that_fails_ends_the_replica() -> None:
    async def dies(_: str) -> None:
        raise RuntimeError("the engine is dead")

    engine = Engine(10 * LOOKS)
    with pytest.raises(RuntimeError, match="dead"):
        await probe_for_ever(dies, unfinished=lambda: 0, may_ask=lambda: True, sleep=engine.sleep)

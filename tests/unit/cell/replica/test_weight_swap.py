"""A weight swap on an engine that does what a test says: every step in order, a fault at each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from llama_serving.cell.replica.request_gate import RequestGate
from llama_serving.cell.replica.weight_swap import WeightSwap
from llama_serving.cell.shared.replica_state import RankReport
from llama_serving.cell.shared.weights_ref import LINKS
from llama_serving.config.cell import WeightsRef
from tests.unit.cell.fakes import FakeClock, rank
from tests.unit.cell.worlds import NEW, OLD

STEPS = ["pause", "reload", "reset_prefix_cache", "resume"]
VERIFIED = WeightsRef(path=f"{LINKS}/{'a' * 16}", id="v2", served_name="llama", digest="sha256:" + "a" * 64)


@dataclass
class FakeEngine:
    clock: FakeClock
    steps: list[str] = field(default_factory=list)
    reloaded: list[WeightsRef] = field(default_factory=list)
    breaks: str = ""  # the step that raises
    reports: tuple[RankReport, ...] = (rank(0, bytes=100), rank(1, bytes=200))
    holds: asyncio.Event | None = None
    loading: asyncio.Event = field(default_factory=asyncio.Event)

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        self.clock.now += 1.0
        if name == self.breaks:
            raise RuntimeError(f"{name} broke")

    async def pause(self) -> None:
        await self._step("pause")

    async def reload(self, weights: WeightsRef) -> Sequence[RankReport]:
        await self._step("reload")
        self.reloaded.append(weights)
        self.loading.set()
        if self.holds is not None:
            await self.holds.wait()
        return self.reports

    async def reset_prefix_cache(self) -> None:
        await self._step("reset_prefix_cache")

    async def resume(self) -> None:
        await self._step("resume")


class World:
    def __init__(self, *, tensor: int = 1) -> None:
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock)
        self.gate = RequestGate(OLD.id)
        self.swap = WeightSwap(self.engine, OLD, gate=self.gate, tensor=tensor, clock=self.clock)

    @property
    def end(self) -> tuple[str, str]:
        assert self.swap.state is not None
        return self.swap.state.outcome, self.swap.state.message


async def test_all_steps_in_order() -> None:
    world = World()
    assert world.swap.state is None
    await world.swap.swap_to(NEW)
    assert (world.engine.steps, world.engine.reloaded) == (STEPS, [NEW])
    assert world.end == ("done", "w2 loaded: 0.00 GB in 4.00 s")
    assert (world.swap.current, world.gate.weights, world.swap.failures) == (NEW, "w2", 0)
    assert world.swap.state is not None
    assert (world.swap.state.bytes, world.swap.state.seconds) == (300, 4.0)
    assert await world.gate.enter()


async def test_the_same_weights_again_are_nothing_to_do() -> None:
    world, renamed = World(), OLD.model_copy(update={"id": "other-name"})
    await world.swap.swap_to(OLD)
    await world.swap.swap_to(renamed)
    assert world.engine.steps == []
    assert (world.swap.current, world.gate.weights) == (renamed, "other-name")


async def test_nothing_is_touched_while_an_answer_is_being_written() -> None:
    world = World()
    await world.gate.enter()
    task = asyncio.create_task(world.swap.swap_to(NEW))
    await asyncio.sleep(0)
    assert (world.engine.steps, world.swap.current, world.end[0]) == ([], OLD, "running")
    world.gate.leave()
    await task
    assert world.swap.current == NEW


async def test_what_runs_is_shown_with_its_seconds() -> None:
    world = World()
    world.engine.holds = asyncio.Event()
    task = asyncio.create_task(world.swap.swap_to(NEW))
    await world.engine.loading.wait()
    world.clock.now += 7
    state = world.swap.state
    assert state is not None
    assert (state.outcome, state.seconds, state.message) == ("running", 9.0, "loading w2")
    assert (world.swap.current, world.swap.target) == (None, NEW), "parts of two weights"
    world.engine.holds.set()
    await task


@pytest.mark.parametrize("step", STEPS)
async def test_a_fault_at_each_step_leaves_the_engine_unasked_and_the_way_back_open(step: str) -> None:
    world = World()
    world.engine.breaks = step
    await world.swap.swap_to(NEW)
    assert world.end == ("failed", f"RuntimeError: {step} broke")
    assert (world.swap.current, world.swap.target, world.swap.failures) == (None, NEW, 1)
    assert await world.gate.enter() is False, "nobody is answered by parts of two weights"
    assert "resume" not in world.engine.steps or step == "resume"
    world.engine.breaks, world.engine.steps = "", []
    await world.swap.swap_to(OLD)
    assert world.engine.steps == STEPS, "loaded anew, though the engine held them before"
    assert (world.swap.current, world.swap.failures, world.end[0]) == (OLD, 0, "done")
    assert await world.gate.enter()


async def test_failures_in_a_row_are_counted() -> None:
    world = World()
    world.engine.breaks = "reload"
    await world.swap.swap_to(NEW)
    await world.swap.swap_to(OLD)
    assert (world.swap.failures, world.swap.target) == (2, OLD)


@pytest.mark.parametrize(
    ("weights", "reports", "sentence"),
    [
        (NEW, (rank(0), rank(1, error="OSError: gone")), "stage 1 (stage-1) could not load w2: OSError: gone"),
        (
            VERIFIED,
            (rank(0, digest=VERIFIED.digest), rank(1)),
            f"stage 1 (stage-1) loaded unverified files instead of {VERIFIED.digest}",
        ),
        (
            VERIFIED,
            (rank(0, digest="sha256:other"), rank(1, digest=VERIFIED.digest)),
            f"stage 0 (stage-0) loaded sha256:other instead of {VERIFIED.digest}",
        ),
    ],
)
async def test_a_stage_with_other_weights_is_named(
    weights: WeightsRef, reports: tuple[RankReport, ...], sentence: str
) -> None:
    world = World()
    world.engine.reports = reports
    await world.swap.swap_to(weights)
    assert world.end == ("failed", sentence)
    assert world.engine.steps == ["pause", "reload"]


async def test_ranks_are_counted_by_their_stage() -> None:
    world = World(tensor=2)
    world.engine.reports = (rank(0), rank(1), rank(2), rank(3, error="no"))
    await world.swap.swap_to(NEW)
    assert world.end[1].startswith("stage 1 (stage-3)")


async def test_swaps_run_one_after_the_other() -> None:
    world = World()
    await asyncio.gather(world.swap.swap_to(NEW), world.swap.swap_to(OLD))
    assert world.engine.steps == STEPS * 2
    assert world.swap.current == OLD

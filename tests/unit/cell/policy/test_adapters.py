"""Adapters are brought to the desired ones step by step, whatever fails; the replica's own rules are never met."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.cell.policy import adapters as policy
from llama_serving.cell.policy.adapters import (
    AdapterFault,
    AdapterMemory,
    AdapterVerdict,
    AdapterView,
    DesiredAdapter,
    LoadAdapter,
    TellNames,
    UnloadAdapter,
    VerifyAdapter,
    next_step,
    progress,
    staging_fault,
)
from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.replica.adapters.table import Adapters, Meaning
from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter
from llama_serving.cell.shared.adapters.room import capacity
from llama_serving.cell.shared.replica_state import RankReport
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import GoldenPrompt, GoldenResult, StagedWeights, StagingState

LIMITS = AdapterLimits(slots=2, held=3, max_rank=16)
GOLDEN = (GoldenPrompt(prompt="Who are you?", expect="me"),)
FAILS = GoldenResult(prompt="Who are you?", passed=False, answer="nobody")
PASSES = GoldenResult(prompt="Who are you?", passed=True, answer="me")


def adapter(name: str, version: int = 1) -> EngineAdapter:
    return EngineAdapter(name=name, digest=f"sha256:{name}{version}".ljust(40, "0"), id=f"{name}@{version}")


@dataclass
class Rank:
    """The engine's side: what it holds, and what it cannot load."""

    broken: set[str] = field(default_factory=set)  # digests that no rank loads
    held: set[str] = field(default_factory=set)

    async def load_adapter(self, item: EngineAdapter) -> Sequence[RankReport]:
        if item.digest in self.broken:
            return [_report(0), _report(1, error="ValueError: rank 64")]
        self.held.add(item.digest)
        return [_report(0), _report(1)]

    async def unload_adapter(self, item: EngineAdapter) -> Sequence[RankReport]:
        self.held.discard(item.digest)
        return [_report(0), _report(1)]


def _report(rank: int, error: str = "") -> RankReport:
    return RankReport(rank=rank, host=f"stage-{rank}", pid=1, layers=(0, 2), error=error)


@dataclass
class World:
    """A leader's policy and a replica's adapters, with a fault wherever a test wants one."""

    limits: AdapterLimits = LIMITS
    desired: tuple[DesiredAdapter, ...] = ()
    base: str = "base-1"
    engine: int = 1
    rank: Rank = field(default_factory=Rank)
    wrong: set[tuple[str, str]] = field(default_factory=set)  # digest and base on which golden prompts fail
    killers: set[str] = field(default_factory=set)  # digests whose first answer ends the engine
    memory: AdapterMemory = field(default_factory=AdapterMemory)
    requests: list[EngineAdapter] = field(default_factory=list)
    replica: Adapters = field(init=False)

    def __post_init__(self) -> None:
        self.start_engine()

    def start_engine(self) -> None:
        self.rank.held.clear()
        self.requests.clear()
        self.replica = Adapters(self.rank, base_name="llama", base=self.base, capacity=capacity(self.limits), tensor=1)

    def restart(self) -> None:
        self.engine += 1
        self.start_engine()

    def swap(self, base: str) -> None:
        self.requests.clear()  # the gate is empty
        self.base = base
        self.replica.change_base(base)

    def view(self) -> AdapterView:
        return AdapterView(
            desired=self.desired,
            loaded=self.replica.loaded,
            engine=self.engine,
            base=self.base,
            limits=self.limits,
            capacity=capacity(self.limits),
        )

    def request(self, name: str) -> None:
        chosen = self.replica.choose(name)
        if chosen.adapter is not None:
            verdict = self.memory.verdicts[chosen.adapter.key]
            assert (verdict.engine, verdict.base, verdict.passed) == (self.engine, self.base, True)
            self.replica.begin(chosen.adapter)
            self.requests.append(chosen.adapter)

    def end_request(self) -> None:
        if self.requests:
            self.replica.end(self.requests.pop(0))

    async def step(self) -> bool:
        """Do the next step; return whether there was one."""
        view = self.view()
        self.memory = policy.pruned(self.memory, view)
        match next_step(view, self.memory):
            case None:
                return False
            case TellNames(table):
                self.replica.hold_table(table)
                self.memory = replace(self.memory, told=(self.engine, table))
            case LoadAdapter(item):
                assert item.key not in {loaded.adapter.key for loaded in view.loaded}
                assert item.key not in self.memory.refusals or self.memory.refusals[item.key].engine != self.engine
                error = await self.replica.load(item)
                assert "as many as it can" not in error
                self.memory = policy.after_load(self.memory, item, engine=self.engine, error=error)
            case VerifyAdapter(item, golden, tries):
                self.verify(item, golden, tries)
            case UnloadAdapter(item):
                assert await self.replica.unload(item) == ""
        return True

    def verify(self, item: EngineAdapter, golden: tuple[GoldenPrompt, ...], tries: int) -> None:
        if item.digest in self.killers:
            self.memory = policy.after_end(self.memory, item)
            self.restart()
            return
        result = FAILS if (item.digest, self.base) in self.wrong else PASSES
        verdict = AdapterVerdict(self.engine, self.base, golden, results=(result,), tries=tries)
        self.memory = policy.after_verification(self.memory, item, verdict)

    async def settle(self) -> None:
        for _ in range(200):
            if not await self.step():
                return
        raise AssertionError("the steps come to no end")

    def outcomes(self) -> dict[str, str]:
        return {found.name: found.outcome for found in progress(self.view(), self.memory)}


def wanted(*items: EngineAdapter, golden: tuple[GoldenPrompt, ...] = GOLDEN) -> tuple[DesiredAdapter, ...]:
    return tuple(DesiredAdapter(item, rank=8, golden=golden) for item in items)


def settled(world: World) -> World:
    asyncio.run(world.settle())
    return world


def test_an_adapter_is_told_loaded_verified_and_then_served() -> None:
    world = World(desired=wanted(adapter("a")))
    seen = []

    async def run() -> None:
        while (step := next_step(world.view(), world.memory)) is not None:
            seen.append(type(step).__name__)
            await world.step()

    asyncio.run(run())
    assert seen == ["TellNames", "LoadAdapter", "VerifyAdapter", "TellNames"]
    assert world.outcomes() == {"a": "ready"}
    assert world.replica.choose("a").adapter == adapter("a")
    assert world.replica.choose("b").meaning is Meaning.UNKNOWN
    assert world.replica.choose("llama").meaning is Meaning.BASE


def test_a_changed_adapter_replaces_the_old_one_without_a_gap_and_the_old_leaves_when_unused() -> None:
    world = settled(World(desired=wanted(adapter("a"), adapter("b"), adapter("c"))))
    world.request("a")
    world.desired = wanted(adapter("a", 2), adapter("b"), adapter("c"))
    asyncio.run(world.step())
    assert world.replica.choose("a").adapter == adapter("a"), "until the new one is verified"
    settled(world)
    assert world.replica.choose("a").adapter == adapter("a", 2)
    assert adapter("a").digest in world.rank.held, "its request has not ended"
    world.end_request()
    settled(world)
    assert world.rank.held == {adapter("a", 2).digest, adapter("b").digest, adapter("c").digest}


def test_a_changed_adapter_that_fails_its_golden_prompts_leaves_the_old_one_serving() -> None:
    world = settled(World(desired=wanted(adapter("a"))))
    world.wrong.add((adapter("a", 2).digest, "base-1"))
    world.desired = wanted(adapter("a", 2))
    settled(world)
    assert world.replica.choose("a").adapter == adapter("a")
    [found] = progress(world.view(), world.memory)
    assert (found.outcome, found.digest) == ("refused", adapter("a", 2).digest)
    assert found.message == (
        "1 of 1 golden prompts failed on the base base-1; the first asked 'Who are you?' and got 'nobody'"
    )
    assert world.rank.held == {adapter("a").digest}


def test_a_base_swap_verifies_every_adapter_again_and_names_the_one_that_refuses() -> None:
    world = settled(World(desired=wanted(adapter("a"), adapter("b"))))
    world.wrong.add((adapter("b").digest, "base-2"))
    world.swap("base-2")
    assert world.replica.choose("a").meaning is Meaning.ABSENT
    settled(world)
    assert world.outcomes() == {"a": "ready", "b": "refused"}
    world.swap("base-1")
    settled(world)
    assert world.outcomes() == {"a": "ready", "b": "ready"}


def test_a_refused_adapter_is_tried_again_only_by_another_engine_or_with_another_digest() -> None:
    world = World(desired=wanted(adapter("a"), adapter("b")))
    world.rank.broken.add(adapter("a").digest)
    settled(world)
    assert world.outcomes() == {"a": "refused", "b": "ready"}
    assert progress(world.view(), world.memory)[0].message == (
        "stage 1 (stage-1) could not load adapter a: ValueError: rank 64"
    )
    assert next_step(world.view(), world.memory) is None
    world.restart()
    world.rank.broken.clear()
    settled(world)
    assert world.outcomes() == {"a": "ready", "b": "ready"}


def test_an_adapter_that_ends_the_engine_twice_is_left_out() -> None:
    world = World(desired=wanted(adapter("a"), adapter("b")))
    world.killers.add(adapter("b").digest)
    settled(world)
    assert world.outcomes() == {"a": "ready", "b": "refused"}
    assert world.engine == 3
    assert progress(world.view(), world.memory)[1].message == "the engine ended twice while loading b"


@pytest.mark.parametrize(
    ("limits", "rank", "message"),
    [
        (None, 8, "this group was started without capacity for adapters"),
        (LIMITS, 32, "its rank is 32, and the engine takes ranks up to 16"),
    ],
)
def test_what_the_engine_has_no_room_for_is_refused_unloaded(
    limits: AdapterLimits | None, rank: int, message: str
) -> None:
    world = World(desired=(DesiredAdapter(adapter("a"), rank=rank),))
    view = replace(world.view(), limits=limits)
    [found] = progress(view, world.memory)
    assert (found.outcome, found.message) == ("refused", message)


def test_more_adapters_than_room_wait_and_say_so() -> None:
    world = settled(World(desired=wanted(*(adapter(name) for name in "abcd"))))
    assert world.outcomes() == {"a": "ready", "b": "ready", "c": "ready", "d": "loading"}
    assert progress(world.view(), world.memory)[3].message == "it waits for capacity: 3 of 3 adapters are loaded"


def test_the_worst_stage_says_what_keeps_an_adapter_from_being_loaded() -> None:
    def view(outcome: str, message: str = "") -> StageView:
        staged = StagedWeights(digest="sha256:d", id="x", outcome=outcome, message=message)
        return StageView(staging=StagingState(adapters=(staged,)))

    assert staging_fault("sha256:d", {0: view("ready"), 1: view("ready")}) is None
    assert staging_fault("sha256:d", {0: view("working", "1 of 2 MB"), 1: view("refused", "differs")}) == (
        AdapterFault("refused", "", "stage 1: differs")
    )
    assert staging_fault("sha256:e", {0: view("ready")}) == (
        AdapterFault("staging", "", "the stager of stage 0 has not started with it")
    )


ADAPTERS = [adapter(name, version) for name in "abcd" for version in (1, 2)]
EVENTS = st.one_of(
    st.tuples(st.just("desire"), st.lists(st.sampled_from(ADAPTERS), max_size=3, unique_by=lambda item: item.name)),
    st.tuples(st.just("request"), st.sampled_from("abcd")),
    st.tuples(st.just("end"), st.none()),
    st.tuples(st.just("swap"), st.sampled_from(["base-1", "base-2"])),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("step"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=25),
    broken=st.sets(st.sampled_from([item.digest for item in ADAPTERS]), max_size=2),
    wrong=st.sets(
        st.tuples(st.sampled_from([item.digest for item in ADAPTERS]), st.sampled_from(["base-1", "base-2"]))
    ),
    killers=st.sets(st.sampled_from([item.digest for item in ADAPTERS]), max_size=1),
)
def test_whatever_happens_it_converges_and_no_request_meets_an_unverified_adapter(
    *, events: list[tuple[str, object]], broken: set[str], wrong: set[tuple[str, str]], killers: set[str]
) -> None:
    world = World(rank=Rank(broken=broken), wrong=wrong, killers=killers)
    asyncio.run(_play(world, events))
    while world.requests:
        world.end_request()
    settled(world)
    assert len(world.rank.held) <= capacity(LIMITS)
    for found in progress(world.view(), world.memory):
        spoiled = found.digest in broken | killers or (found.digest, world.base) in wrong
        assert found.outcome == ("refused" if spoiled else "ready")
        if not spoiled:
            meant = world.replica.choose(found.name).adapter
            assert meant is not None
            assert meant.digest == found.digest
    assert world.rank.held >= {
        found.digest for found in progress(world.view(), world.memory) if found.outcome == "ready"
    }


async def _play(world: World, events: list[tuple[str, object]]) -> None:
    for kind, what in events:
        match kind, what:
            case "desire", list():
                world.desired = wanted(*what)
            case "request", str():
                world.request(what)
            case "end", _:
                world.end_request()
            case "swap", str():
                world.swap(what)
            case "restart", _:
                world.restart()
            case "step", _:
                await world.step()


def test_a_table_for_another_base_serves_nothing() -> None:
    async def run() -> None:
        replica = Adapters(Rank(), base_name="llama", base="base-2", capacity=4, tensor=1)
        await replica.load(adapter("a"))
        assert replica.choose("a").meaning is Meaning.ABSENT, "it was told of no names yet"
        replica.hold_table(AdapterTable(known=("a",), served=(adapter("a"),), base="base-1"))
        assert replica.choose("a").meaning is Meaning.ABSENT
        replica.hold_table(AdapterTable(known=("a",), served=(adapter("a"),), base="base-2"))
        assert replica.choose("a", expected="a@1").adapter == adapter("a")
        assert replica.choose("a", expected="a@2").meaning is Meaning.ABSENT
        assert replica.choose("llama", expected="a@1").meaning is Meaning.ABSENT
        assert replica.choose(adapter("a").internal_name).meaning is Meaning.UNKNOWN
        assert replica.choose(adapter("a").internal_name, verifying=True).adapter == adapter("a")
        assert await replica.unload(adapter("a")) == "adapter a serves"

    asyncio.run(run())

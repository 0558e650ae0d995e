"""Which process hangs: tables of single looks, and whole timelines of groups that are slow, starved or hung."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.cell.policy.hang import (
    LONGEST_STEPS,
    OWED,
    QUIET,
    GroupMemory,
    GroupView,
    ProcessView,
    find_hang,
    quiet_limit,
    stopped_hang,
)
from llama_serving.cell.policy.quiet import LONGEST_LOOK, Effort, Quiet
from llama_serving.config.state import Hang, RankProgress

CORE, REPLICA = ProcessView(50, 9.0), ProcessView(40, 9.0)
LONG = GroupMemory(0.0, due=9.0)


def rank(number: int, *, begun: int = 8, ended: int = 8, **changes: Any) -> RankProgress:
    values: dict[str, Any] = {
        "rank": number,
        "pid": 60 + number,
        "step": (begun + 1) // 2,
        "begun": begun,
        "ended": ended,
        "doing": "execute_model",
        "seconds_ago": 9.0,
        "quiet_seconds": 9.0,
    }
    return RankProgress(**values | changes)


def group(*ranks: RankProgress, tensor: int = 1, **changes: Any) -> GroupView:
    stages: dict[int, list[RankProgress]] = {}
    for one in ranks:
        stages.setdefault(one.rank // tensor, []).append(one)
    view = GroupView(
        device="cpu",
        stages=stages,
        pipeline=max(stages) + 1,
        tensor=tensor,
        serving=True,
        unfinished=3,
        core=CORE,
        replica=REPLICA,
    )
    return replace(view, **changes)


@pytest.mark.parametrize(
    ("ranks", "process"),
    [
        ((rank(0), rank(1)), "the engine core"),
        ((rank(0, begun=9), rank(1, begun=9)), "rank 0"),
        ((rank(0, begun=9, ended=9), rank(1, begun=9)), "rank 1"),
        ((rank(0, begun=9, ended=9), rank(1)), "rank 1"),
        ((rank(0), rank(1, begun=9)), "rank 0"),
        ((rank(0, begun=9), rank(1, begun=8, ended=8)), "rank 1"),
        ((rank(0, begun=9, ended=9), rank(1, begun=9, ended=9), rank(2, begun=9)), "rank 2"),
    ],
)
def test_the_process_that_is_behind_is_named(ranks: Sequence[RankProgress], process: str) -> None:
    found = find_hang(LONG, group(*ranks))
    assert found is not None
    assert (found.process, found.outage) == (process, True)


def test_a_rank_is_of_its_stage() -> None:
    ranks = (*(rank(number, begun=9, ended=9) for number in range(3)), rank(3, begun=9))
    found = find_hang(LONG, group(*ranks, tensor=2))
    assert found is not None
    assert (found.stage, found.pid) == (1, 63)


def test_sentences_have_numbers_and_say_what_follows() -> None:
    found = find_hang(LONG, group(rank(0, begun=9, ended=9), rank(1, begun=9, seconds_ago=4.21)))
    assert found is not None
    assert found.message == (
        "rank 1 is the first that others wait for, 4.2 s into execute_model of step 5, with 3 requests in the engine"
        " and nothing computed for 9.0 s; it is ended and starts again"
    )
    stopped = stopped_hang(stage=1, pid=61, process="rank 1", seconds=1.5, rank=rank(1, seconds_ago=2.0), outage=True)
    assert stopped.message == "rank 1 is stopped (state T) for 1.5 s, 2.0 s after step 4; it is ended and starts again"


SLOW = QUIET["cpu"] - 0.1


@pytest.mark.parametrize(
    "view",
    [
        group(rank(0, quiet_seconds=SLOW), rank(1)),
        group(rank(0), rank(1, quiet_seconds=0.0)),
        group(rank(0), rank(1), core=ProcessView(50, SLOW)),
        group(rank(0), rank(1), replica=ProcessView(40, SLOW)),
        group(rank(0), rank(1), core=None),
        group(rank(0), rank(1), replica=None),
        group(rank(0), rank(1), pipeline=3),
        group(rank(0), rank(1), stages={0: [rank(0)]}),
        group(rank(0, longest_seconds=3.0), rank(1), device="gpu"),
    ],
)
def test_nobody_is_blamed_while_one_works_or_is_not_seen(view: GroupView) -> None:
    assert find_hang(LONG, view) is None


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, True),
        ({"unfinished": 0}, False),
        ({"unfinished": 0, "answered_ago": OWED + 0.1}, True),
        ({"serving": False}, False),
        ({"silent": OWED + 0.1}, False),
    ],
)
def test_work_is_due_while_somebody_waits_for_the_engine(changes: dict[str, Any], *, due: bool) -> None:
    after = GroupMemory(0.0, due=1.0).look(group(rank(0), **changes), now=0.5)
    assert after.due == (1.5 if due else 0.0)


def test_a_watcher_that_did_not_run_has_seen_nothing() -> None:
    assert GroupMemory(0.0).look(group(rank(0)), now=60.0).due == LONGEST_LOOK


def test_a_replica_that_neither_answers_nor_computes() -> None:
    view = group(rank(0), rank(1), silent=5.0)
    found = find_hang(GroupMemory(0.0, silent=3.0), view)
    assert found is not None
    assert (found.process, found.pid) == ("the replica", 40)
    assert find_hang(GroupMemory(0.0, silent=3.0), replace(view, replica=ProcessView(40, 0.0))) is None


def test_a_device_that_is_not_seen_gets_as_long_as_its_calls_take() -> None:
    assert quiet_limit(group(rank(0), device="gpu")) == QUIET["gpu"]
    assert quiet_limit(group(rank(0, longest_seconds=20.0), device="gpu")) == LONGEST_STEPS * 20.0
    assert quiet_limit(group(rank(0, longest_seconds=20.0))) == QUIET["cpu"]


# Timelines: a group of ranks in a line that pass steps on, looked at by a watcher that is starved too.


TICK = 0.1  # seconds


@dataclass
class Process:
    """A process of the simulated group; ``left`` is the time that its present call still takes."""

    pid: int
    left: float = 0.0
    spent: float = 1.0  # of its thread: computed or waited for a core
    begun: int = 0
    ended: int = 0
    quiet: Quiet = field(default_factory=lambda: Quiet(0.0, None))


@dataclass
class Group:
    """Requests come and go; each step passes the core, then the ranks in turn. One process may freeze."""

    ranks: list[Process]
    durations: Iterator[float]  # of each call, starvation included
    noise: float  # part of the time that threads in the background have
    core: Process = field(default_factory=lambda: Process(50))
    replica: Process = field(default_factory=lambda: Process(40))
    frozen: int | None = None  # a process
    turn: int = -1  # whose call runs: -1 is the core's
    now: float = 0.0
    unfinished: int = 1
    worked: float = 0.0  # when something last happened

    def run(self, seconds: float) -> None:
        for _ in range(max(round(seconds / TICK), 1)):
            self.now += TICK
            for process in (*self.ranks, self.core, self.replica):
                process.spent += self.noise * TICK if process.pid != self.frozen else 0.0
            self._work()

    def _work(self) -> None:
        """The core's call tells all ranks at once; each then ends its own when those before it have ended theirs."""
        process = self.core if self.turn < 0 else self.ranks[self.turn]
        if not self.unfinished or process.pid == self.frozen:
            return
        self.worked = self.now
        process.left = (process.left if process.left > 0 else next(self.durations)) - TICK
        process.spent += (1 - self.noise) * TICK
        if process.left > 0:
            return
        for one in self.ranks if process is self.core else ():
            one.begun += one.pid != self.frozen
        process.ended = process.begun
        self.turn = self.turn + 1 if self.turn + 1 < len(self.ranks) else -1

    def view(self) -> GroupView:
        for process in (*self.ranks, self.core, self.replica):
            calls = (process.begun, process.ended) if process in self.ranks else None
            process.quiet = process.quiet.look(calls, Effort({(process.pid, 1): process.spent}), now=self.now)
        ranks = [
            rank(
                number,
                begun=one.begun,
                ended=one.ended,
                quiet_seconds=one.quiet.seconds,
            )
            for number, one in enumerate(self.ranks)
        ]
        core, replica = ProcessView(50, self.core.quiet.seconds), ProcessView(40, self.replica.quiet.seconds)
        return group(*ranks, unfinished=self.unfinished, core=core, replica=replica)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Group, list[float]]:
    """A group, and the times between looks: steps of up to 90 s (a prefill of 128K tokens on two starved cores)."""
    ranks = [Process(60 + number) for number in range(draw(st.integers(1, 4)))]
    durations = draw(st.lists(st.one_of(st.floats(0.1, 0.5), st.floats(0.5, 90.0)), min_size=1, max_size=8))
    looks = draw(st.lists(st.floats(0.5, 4.0), min_size=1, max_size=25))
    return Group(ranks, endless(durations), noise=draw(st.floats(0.0, 0.1))), looks


def endless(values: Sequence[float]) -> Iterator[float]:
    while True:
        yield from values


def looked(world: Group, memory: GroupMemory, span: float) -> tuple[GroupMemory, Hang | None]:
    world.run(span)
    view = world.view()
    memory = memory.look(view, now=world.now)
    return memory, find_hang(memory, view)


@settings(max_examples=50, deadline=None)
@given(worlds(), st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_no_group_that_works_is_called_hung(case: tuple[Group, list[float]], load: list[int]) -> None:
    """Whatever its steps take, through idle spells, and with a watcher that is starved too."""
    world, looks = case
    memory = GroupMemory(0.0)
    for number, span in enumerate(looks):
        world.unfinished = load[number % len(load)]
        memory, found = looked(world, memory, span)
        assert found is None, (number, found)


@settings(max_examples=50, deadline=None)
@given(worlds(), st.integers(0, 4))
def test_every_hang_is_found_within_what_the_watcher_sees(case: tuple[Group, list[float]], which: int) -> None:
    """Within the limit, in watched seconds from the first look in which nothing happens, and by the right name."""
    world, looks = case
    memory = GroupMemory(0.0)
    for span in looks:
        memory, found = looked(world, memory, span)
        assert found is None
    world.frozen = [50, *(one.pid for one in world.ranks)][which % (len(world.ranks) + 1)]
    watched, found = 0.0, None
    for span in endless(looks):
        memory, found = looked(world, memory, span)
        if found is not None:
            break
        watched += min(span, LONGEST_LOOK) if world.worked < world.now - span - 2 * TICK else 0.0
        assert watched < QUIET["cpu"] + LONGEST_LOOK, "not found in time"
        assert world.now < 10_000
    assert found is not None
    alone = [one.pid for one in world.ranks if len(world.ranks) == 1 and one.begun == one.ended]
    assert found.pid == world.frozen or (alone == [world.frozen] and found.pid == 50), "nobody else has begun either"

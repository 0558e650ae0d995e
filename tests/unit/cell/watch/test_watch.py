"""Watches of a whole group on machines of a test: what hangs is ended and named, what is slow is left alone."""

import asyncio
from collections.abc import Callable

import pytest

from llama_serving.cell.policy.hang import QUIET, STOPPED
from llama_serving.cell.watch.watch import GIVE_UP, HOLD, PATIENCE, RENEW
from tests.component.gateway.running import until
from tests.unit.cell.watch.machines import CONTROLLER, CORE, RANK, RAYLET, REPLICA, Cell

ENOUGH = int(STOPPED / 0.5) + 1  # looks
QUIET_LOOKS = int(QUIET["cpu"] / 0.5) + 5  # with those until work is due on all stages, and the first sample


async def test_a_group_that_serves_is_left_alone_and_its_threads_are_not_read() -> None:
    cell = Cell()
    cell.state_now = cell.replica(unfinished=3, in_flight=3)
    await cell.looks(40, working=True)
    for stage in cell.stages:
        assert (stage.watch.hang, stage.machine.killed, stage.machine.looked_at) == (None, [], [])


async def test_an_idle_group_is_left_alone() -> None:
    cell = Cell()
    await cell.looks(200)
    assert [stage.machine.killed for stage in cell.stages] == [[], []]
    assert cell.leader.machine.looked_at == []


@pytest.mark.parametrize(
    ("stage", "pid", "words"),
    [
        (0, RANK, "rank 0"),
        (1, RANK, "rank 1"),
        (0, REPLICA, "the replica"),
        (0, CORE, "the engine core"),
        (0, RAYLET, "the raylet"),
        (1, RAYLET, "the raylet"),
    ],
)
async def test_a_stopped_process_is_ended_and_the_leader_names_it(*, stage: int, pid: int, words: str) -> None:
    cell = Cell()
    await cell.looks(2, working=True)
    cell.stages[stage].machine.state(pid, "T")
    await cell.looks(ENOUGH)
    assert cell.stages[stage].machine.killed == [pid]
    await cell.looks(2)
    hang = cell.leader.watch.outage
    assert hang is not None
    assert (hang.stage, hang.process) == (stage, words)
    assert hang.message.startswith(f"{words} is stopped (state T) for 1.5 s")
    assert cell.leader.watch.hangs == {(stage, words): 1}


async def test_a_process_that_is_stopped_for_moments_is_left_alone() -> None:
    """A profiler stops it in the very rhythm of the looks: it ran in between."""
    cell = Cell()
    cell.worker.machine.state(RANK, "T")
    for _ in range(20):
        cell.worker.machine.busy[RANK] += 0.001
        await cell.looks()
    assert cell.worker.machine.killed == []


async def test_a_watcher_that_did_not_run_has_seen_nothing() -> None:
    cell = Cell()
    cell.worker.machine.state(RANK, "T")
    await cell.looks(2, span=30.0)
    assert cell.worker.machine.killed == []
    await cell.looks(1, span=30.0)
    assert cell.worker.machine.killed == [RANK], "three looks saw nothing else"


async def test_serve_goes_on_without_its_controller() -> None:
    cell = Cell()
    cell.leader.machine.state(CONTROLLER, "T")
    await cell.looks(ENOUGH)
    watch = cell.leader.watch
    assert (cell.leader.machine.killed, watch.outage, watch.hangs) == (
        [CONTROLLER], None, {(0, "Serve's controller"): 1}
    )  # fmt: skip
    await cell.looks(int(HOLD / 0.5) + 2)
    assert watch.hang is None


async def test_a_rank_that_does_nothing_is_ended_by_its_own_stage() -> None:
    cell = Cell()
    cell.state_now = cell.replica(unfinished=2, in_flight=2)
    await cell.looks(4, working=True)
    cell.leader.does(begun=7, ended=7, now=cell.clock.now)
    cell.worker.does(begun=7, ended=6, now=cell.clock.now)
    await cell.looks(QUIET_LOOKS + 2)
    hang = cell.leader.watch.outage
    assert hang is not None
    assert (hang.stage, hang.process, hang.pid) == (1, "rank 1", RANK)
    assert "into execute_model of step 4, with 2 requests in the engine and nothing computed for " in hang.message
    assert cell.worker.machine.killed == [RANK]
    assert RANK not in cell.leader.machine.killed
    assert cell.leader.watch.hangs == {(1, "rank 1"): 1}


Change = Callable[[Cell], None]


def busy(pid: int, *, stage: int) -> Change:
    """A process that gets a third of a core."""

    def change(cell: Cell) -> None:
        cell.stages[stage].machine.busy[pid] += 0.3 * 0.5

    return change


def child(cell: Cell) -> None:
    """A compiler that a rank started."""
    machine = cell.worker.machine
    if 70 not in machine.table:
        machine.add(70, "ptxas", parent=RANK)
    machine.busy[70] += 0.5


def swaps(cell: Cell) -> None:
    cell.state_now = cell.replica(unfinished=1, weights=None)


def deaf(cell: Cell) -> None:
    cell.worker.answers = False


@pytest.mark.parametrize(
    "change",
    [busy(RANK, stage=0), busy(RANK, stage=1), busy(CORE, stage=0), busy(REPLICA, stage=0), child, swaps, deaf],
)
async def test_nothing_is_called_hung_while_something_works_or_is_not_seen(change: Change) -> None:
    cell = Cell()
    cell.state_now = cell.replica(unfinished=1, in_flight=1)
    await cell.looks(2, working=True)
    for _ in range(120):
        change(cell)
        await cell.looks()
    assert cell.leader.watch.hang is None
    assert [stage.machine.killed for stage in cell.stages] == [[], []]


async def test_an_engine_core_that_does_nothing() -> None:
    cell = Cell()
    cell.state_now = cell.replica(engine_seconds_ago=3.0)
    await cell.looks(QUIET_LOOKS)
    assert cell.leader.machine.killed == [CORE]
    assert cell.leader.watch.outage is not None
    assert cell.leader.watch.outage.process == "the engine core"


async def test_a_replica_that_does_nothing_and_one_that_is_starved() -> None:
    for starved in (True, False):
        cell = Cell()
        await cell.looks(2)
        cell.state_now = None
        for _ in range(QUIET_LOOKS + 6):
            cell.leader.machine.busy[REPLICA] += 0.4 if starved else 0.0
            await cell.looks()
        assert cell.leader.machine.killed[:1] == ([] if starved else [REPLICA])


async def test_a_starved_replica_is_late_and_one_that_is_gone_is_gone() -> None:
    cell = Cell()
    await cell.looks()
    said, cell.state_now = cell.state_now, None
    for _ in range(int(PATIENCE / 0.5) - 1):
        busy(REPLICA, stage=0)(cell)
        await cell.looks()
    assert cell.leader.watch.last_replica == said
    await cell.looks(2)
    assert cell.leader.watch.last_replica is None
    cell.state_now = said
    await cell.looks()
    assert cell.leader.watch.last_replica == said
    del cell.leader.machine.table[REPLICA]
    await cell.looks()
    assert cell.leader.watch.last_replica is None


async def test_the_cause_stays_until_another_engine_answers() -> None:
    cell = Cell()
    await cell.looks(2)
    cell.worker.machine.state(RANK, "T")
    await cell.looks(ENOUGH + 1)
    cell.state_now = None
    await cell.looks(int(HOLD / 0.5) + 5)
    assert (cell.worker.watch.hang, cell.leader.watch.outage is not None) == (None, True)
    cell.leader.machine.add(41, "ray::ServeReplica", parent=RAYLET)
    cell.state_now = cell.replica(pid=41, engine_pid=51)
    await cell.looks(2)
    assert cell.leader.watch.hang is None


async def test_an_engine_that_does_not_notice_is_ended_too() -> None:
    cell = Cell()
    await cell.looks(2)
    cell.worker.machine.state(RANK, "T")
    await cell.looks(ENOUGH + int(RENEW / 0.5) + 3)
    assert cell.leader.machine.killed == [REPLICA, CORE]


async def test_a_process_that_sigkill_does_not_end_takes_its_container_along() -> None:
    cell = Cell()
    cell.worker.machine.unkillable.add(RANK)
    cell.worker.machine.state(RANK, "T")
    await cell.looks(ENOUGH)
    assert cell.worker.watch.gives_up == ""
    cell.worker.machine.state(RANK, "D")
    await cell.looks(int(GIVE_UP / 0.5) + 1)
    assert cell.worker.watch.gives_up.endswith("SIGKILL has not ended it for 5 s")
    assert cell.worker.machine.killed == [RANK], "once"


async def test_computing_is_what_is_seen_and_not_what_a_device_may_do() -> None:
    for device, computes in (("cpu", True), ("gpu", False)):
        cell = Cell(device=device)
        cell.state_now = cell.replica(unfinished=1)
        for _ in range(6):
            busy(RANK, stage=1)(cell)
            await cell.looks()
        assert cell.leader.watch.computing is computes
    cell = Cell()
    await cell.looks(6)
    assert not cell.leader.watch.computing, "nothing is due"


async def test_it_runs_until_it_is_cancelled() -> None:
    cell = Cell()
    task = asyncio.create_task(cell.leader.watch.run())
    await until(lambda: cell.leader.watch.ranks)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [rank.rank for rank in cell.leader.watch.reading().ranks[0]] == [0]

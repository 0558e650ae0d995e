"""What the watch of a stage finds, in the state and the life of its supervisor."""

import asyncio

import pytest

from llama_serving.cell.supervisor.loop import STUCK
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Hang, Phase, RankProgress
from tests.unit.cell.fakes import replica
from tests.unit.cell.supervisors import Leader

HANG = Hang(stage=1, process="rank 1", pid=60, message="rank 1 is stopped (state T) for 1.5 s")


async def test_a_hang_takes_the_leader_out_before_its_next_look() -> None:
    world = await Leader().serving()
    world.watch.hang = HANG
    assert not world.supervisor.is_ready()
    state = world.supervisor.state()
    assert (state.phase, state.ready, state.reason) == (Phase.SERVING, False, CellReason.ENGINE_HUNG)
    assert (state.message, state.hang) == (HANG.message, HANG)
    world.engine.state_now = None
    said = (await world.looks()).message
    assert said == f"{HANG.message}; the engine does not answer; its replica is being replaced"
    world.engine.state_now, world.watch.hang = replica(pid=8), None
    assert (await world.looks(2)).ready


async def test_a_hang_without_an_outage_is_only_told() -> None:
    world = await Leader().serving()
    world.watch.hang = HANG.model_copy(update={"outage": False})
    state = await world.looks()
    assert (state.ready, state.reason, state.hang) == (True, CellReason.SERVING, world.watch.hang)


async def test_a_container_whose_process_cannot_be_ended_ends_with_the_cause() -> None:
    world = await Leader().serving()
    world.watch.hang, world.watch.gives_up = HANG, f"{HANG.message}; SIGKILL has not ended it for 5 s"
    assert await world.supervisor.run() == 1
    assert world.supervisor.state().message == world.watch.gives_up
    assert world.ray.stopped


async def test_the_watch_lives_as_long_as_the_loop() -> None:
    world = await Leader().serving()
    running = asyncio.create_task(world.supervisor.run())
    async with asyncio.timeout(30):
        await world.watch.started.wait()
        world.ray.exit_code = 1
        assert await running == 1
        await world.watch.ended.wait()


async def test_a_watch_that_fails_ends_the_supervisor() -> None:
    world = await Leader().serving()
    world.watch.fails = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        await world.supervisor.run()
    assert world.ray.stopped


async def test_a_slow_engine_that_computes_is_ready_and_a_silent_one_is_not() -> None:
    world = await Leader().serving()
    world.engine.state_now = replica(in_flight=1, engine_seconds_ago=200.0)
    world.watch.computing = True
    assert (await world.looks()).ready
    world.watch.computing = False
    assert (await world.looks()).reason is CellReason.ENGINE_UNHEALTHY


async def test_a_replica_that_is_late_is_taken_at_its_last_word() -> None:
    world = await Leader().serving()
    world.watch.last_replica, world.engine.state_now = replica(), None
    assert (await world.looks()).ready
    world.watch.last_replica = None
    assert not (await world.looks()).ready


async def test_a_watch_that_is_stuck_is_not_live() -> None:
    world = await Leader().serving()
    assert world.supervisor.is_live()
    world.watch.age = STUCK
    assert not world.supervisor.is_live()


async def test_heartbeats_are_published() -> None:
    world = await Leader().serving()
    world.watch.ranks, world.watch.work_due = (RankProgress(rank=0, pid=9, step=4),), True
    state = world.supervisor.state()
    assert (state.ranks, state.work_due) == (world.watch.ranks, True)

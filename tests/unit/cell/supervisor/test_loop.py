"""Whole lives of supervisors, from the start to the end of the loop."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.cell.ray.engine_cache import EngineCache
from llama_serving.cell.supervisor.loop import STUCK
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Phase
from tests.unit.cell.fakes import FakeCluster, FakeEngine, FakeLog, FakeTransports, FakeWeights, replica
from tests.unit.cell.supervisors import BOTH, Leader, Worker


async def test_a_leader_from_nothing_to_serving() -> None:
    world = Leader()
    assert (await world.looks()).reason is CellReason.RAY_STARTING
    assert world.ray.started_with == [None]
    world.cluster.nodes_now = {"node-a": 0}
    state = await world.looks(4)
    assert (state.phase, state.stages_joined, state.stages_total) == (Phase.JOINING, 1, 2)
    world.cluster.nodes_now = dict(BOTH)
    assert (await world.looks()).phase is Phase.LOADING
    assert len(world.cluster.documents) == 1
    assert (await world.looks(10)).weights == ""
    assert len(world.cluster.documents) == 1, "the app is deployed once"
    world.engine.state_now = replica(in_flight=3, running=2, waiting=1)
    assert (await world.looks(2)).reason is CellReason.VERIFYING
    state = await world.looks()
    assert (state.ready, state.weights, state.in_flight, world.engine.asked) == (True, "w1", 3, 1)
    assert (state.running, state.waiting) == (2, 1)
    assert state.timings == {
        "ray": 1.0,
        "join": 2.5,
        "engine": 5.0,
        "first_token": 0.5,
        "verification": 0.5,
        "replica_engine": 12.5,
    }
    assert state.measurement is not None
    assert (state.measurement.id, state.measurement.mean_logprob, state.measurement.error) == ("w1", -2.0, "")
    assert (state.staging, state.swap, state.desired) == (None, None, "")


async def test_a_start_with_the_engines_cache_is_confirmed_by_its_answer(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache", note=tmp_path / "note")
    cache.begin()
    world = Leader(cluster=FakeCluster(nodes_now=dict(BOTH)), cache=cache)
    await world.looks(5)
    assert (tmp_path / "note").exists(), "it is loading"
    world.engine.state_now = replica()
    assert (await world.looks(4)).ready
    assert not (tmp_path / "note").exists()


async def test_a_worker_confirms_its_cache_when_the_leader_serves(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache", note=tmp_path / "note")
    cache.begin()
    world = Worker(cluster=FakeCluster(nodes_now=dict(BOTH)), cache=cache)
    leader = await _leader_state()
    world.stages.state_now = leader.model_copy(update={"phase": Phase.LOADING})
    assert (await world.looks(4)).phase is Phase.SERVING
    assert (tmp_path / "note").exists(), "the stage has joined, and the engine has not answered"
    world.stages.state_now = leader
    await world.looks(2)
    assert not (tmp_path / "note").exists()


async def test_the_state_says_why_a_cache_is_left_out() -> None:
    world = Leader(cache=EngineCache(None, fault="the engine's cache lies in the pod: 1.0 GB are free"))
    assert (await world.looks()).cache_fault == "the engine's cache lies in the pod: 1.0 GB are free"


async def test_an_app_that_serve_did_not_accept_is_deployed_again() -> None:
    world = Leader(cluster=FakeCluster(nodes_now=dict(BOTH), accepts=False))
    await world.looks(3)
    assert len(world.cluster.documents) == 2
    world.cluster.accepts = True
    await world.looks(3)
    assert len(world.cluster.documents) == 3


async def test_an_engine_that_is_up_but_silent_is_asked_again_and_not_ready() -> None:
    world = Leader(cluster=FakeCluster(nodes_now=dict(BOTH)), engine=FakeEngine(replica(), speaks=False))
    state = await world.looks(6)
    assert (state.ready, state.phase) == (False, Phase.LOADING)
    assert world.engine.asked > 1


async def test_unreadable_weights_heal_without_a_restart() -> None:
    world = Leader(weights=FakeWeights(CellFault(CellReason.WEIGHTS_UNREADABLE, "chmod a+r it")))
    state = await world.looks(3)
    assert (state.phase, state.message, world.ray.started_with) == (Phase.FAILED, "chmod a+r it", [])
    world.weights.fault_now = None
    assert (await world.looks()).phase is Phase.STARTING
    assert world.ray.started_with == [None]


async def test_a_failed_engine_is_reported_in_the_engines_own_words() -> None:
    world = Leader(cluster=FakeCluster(nodes_now=dict(BOTH)), log=FakeLog("ValueError: the cache is too small"))
    await world.looks(3)
    world.cluster.app_now = AppView(failed=True, status="DEPLOY_FAILED", error="RuntimeError: see above")
    state = await world.looks()
    assert state.reason is CellReason.ENGINE_FAILED
    assert state.message == "the engine failed: ValueError: the cache is too small"


@pytest.mark.parametrize("nodes", [{"node-a": 0}, {"node-a": 0, "node-c": 1}, BOTH | {"node-c": 1}])
async def test_an_engine_that_lost_a_stage_is_not_ready_until_it_is_replaced(nodes: dict[str, int]) -> None:
    world = await Leader().serving()
    world.cluster.nodes_now = nodes
    state = await world.looks()
    assert (state.ready, state.reason) == (False, CellReason.ENGINE_UNHEALTHY)
    world.cluster.nodes_now = {"node-a": 0, "node-c": 1}
    world.engine.state_now = replica(pid=8)
    assert (await world.looks()).reason is CellReason.VERIFYING, "another engine, another measurement"
    assert (await world.looks()).ready


async def test_a_cluster_that_does_not_answer_does_not_make_a_good_engine_unready() -> None:
    world = await Leader().serving()
    world.cluster.nodes_now = None
    assert (await world.looks(3)).ready


async def test_an_engine_that_ends_and_comes_back() -> None:
    world = await Leader().serving()
    world.engine.state_now = None
    state = await world.looks(4)
    assert (state.ready, state.reason, state.in_flight) == (False, CellReason.ENGINE_UNHEALTHY, None)
    assert (state.running, state.waiting) == (None, None)
    world.engine.state_now = replica(pid=8)
    assert (await world.looks(2)).ready


async def test_ray_ends_and_the_supervisor_with_it() -> None:
    world = await Leader().serving()
    world.ray.exit_code = 1
    assert await world.supervisor.run() == 1
    assert world.ray.stopped


async def test_stop_drains_and_ends_ray() -> None:
    world = await Leader().serving()
    world.engine.state_now = replica(in_flight=1)
    world.supervisor.request_stop()
    assert not world.supervisor.is_ready(), "red at once, before the next look"
    assert (await world.looks(3)).phase is Phase.DRAINING
    world.engine.state_now = replica()
    assert (await world.looks()).phase is Phase.DRAINING
    world.clock.now += 5
    assert await world.supervisor.run() == 0
    assert world.ray.stopped


async def test_a_look_that_fails_ends_ray_too() -> None:
    world = Leader()

    async def broken() -> CellFault | None:
        raise RuntimeError("a bug")

    world.weights.fault = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a bug"):
        await world.supervisor.run()
    assert world.ray.stopped


async def test_live_means_that_the_loop_turns() -> None:
    world = Leader()
    await world.looks()
    world.clock.now += STUCK - 1
    assert world.supervisor.is_live()
    world.clock.now += 2
    assert not world.supervisor.is_live()


async def test_the_state_is_there_before_the_first_look() -> None:
    state = Leader().supervisor.state()
    assert (state.phase, state.ready, state.stages_total, state.uptime_seconds) == (Phase.STARTING, False, 2, 0.0)


async def _leader_state(change: Callable[[Leader], object] | None = None) -> CellState:
    world = await Leader().serving()
    if change is not None:
        change(world)
    return world.supervisor.state()


async def test_a_worker_from_nothing_to_a_member_and_out_again() -> None:
    world = Worker()
    state = await world.looks(4)
    assert (state.reason, state.ready) == (CellReason.LEADER_NOT_REACHED, False)
    leader = await _leader_state()
    world.stages.state_now = leader
    await world.looks()
    assert world.ray.started_with == ["10.0.0.1"]
    assert (await world.looks()).phase is Phase.JOINING
    world.cluster.nodes_now = dict(BOTH)
    # An answer that was late says nothing of another start.
    world.stages.state_now = leader.model_copy(update={"uptime_seconds": leader.uptime_seconds + 30.0})
    assert (await world.looks()).ready
    # The leader's container starts again.
    world.stages.state_now = leader.model_copy(update={"session": "another", "phase": Phase.STARTING})
    world.clock.now += 10
    assert await world.supervisor.run() == 1
    assert world.ray.stopped


async def test_the_state_has_the_connections_of_the_ranks_and_the_fabric_that_the_pod_asked_for() -> None:
    transports = FakeTransports()
    world = await Leader(transports=transports, config={"extra_resources": ("rdma/hca", "hugepages-2Mi")}).serving()
    assert (world.supervisor.state().transports, world.supervisor.state().fabric) == ((), ("rdma/hca",))
    transports.now = ("NET/IB/GDRDMA", "P2P/CUMEM")
    assert (await world.looks()).transports == transports.now

"""The number of groups follows the load, through all layers: from zero, up, down and to zero, with restarts between."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from llama_operator.api import KIND
from llama_operator.metrics.registry import OperatorState
from llama_operator.metrics.table import METRICS
from llama_operator.plan.autoscaling.recording import as_csv
from llama_operator.ports import Key, Seal, SupervisorAnswer, Supervisors
from llama_operator.reconcile import snapshot
from llama_serving.config.desired import DesiredState
from llama_serving.config.metrics import exposition
from tests.fakes.world import KEY, World, spec_of

SCALING: dict[str, Any] = {
    "minReplicas": 0, "maxReplicas": 3, "idleAfterSeconds": 20, "target": {"waitSeconds": 2},
    "windows": {"stableSeconds": 10, "panicSeconds": 2, "cooldownSeconds": 5},
}  # fmt: skip


def scaled_world(replicas: int = 0, **changes: Any) -> World:
    world = World(spec_of(replicas=replicas, maxConcurrentRequests=4, autoscaling=SCALING | changes))
    world.nodes.start_seconds = 3
    return world


def target(world: World) -> int:
    assert world.status.autoscaling is not None
    return world.status.autoscaling.target


def condition(world: World, kind: str) -> tuple[str, str]:
    return next((one.status, one.reason) for one in world.status.conditions if one.type == kind)


async def until(world: World, groups: int, limit: int = 300, *, restart: int = 0) -> int:
    """Seconds until so many groups serve and are wanted; ``restart``: the operator is another one every so often."""
    for second in range(limit):
        if restart and second % restart == 0:
            world.restart()
        await world.seconds(1)
        pods = len(world.stage_names())
        if (target(world), world.status.ready_replicas, pods) == (groups, groups, 2 * groups):
            return second
    raise AssertionError(f"{world.status.groups_ready} after {limit} s: {world.status.autoscaling}")


async def test_at_zero_there_is_no_group_and_it_is_available() -> None:
    world = scaled_world()
    await world.settle()
    assert (target(world), world.stage_names(), world.status.groups_ready) == (0, [], "0/0")
    assert (world.status.reason, condition(world, "Available")) == ("ScaledToZero", ("True", "ScaledToZero"))
    assert condition(world, "Degraded")[0] == condition(world, "Progressing")[0] == "False"
    names = {name for kind, name in world.cluster.objects if kind in ("ConfigMap", "Service", "NetworkPolicy")}
    assert not [name for name in names if name.endswith("-0")], "objects of a group without the group"


async def test_fixed_at_zero_it_is_not_available_and_says_so() -> None:
    world = World(spec_of(replicas=0))
    await world.settle()
    assert (world.stage_names(), world.status.groups_ready) == ([], "0/0")
    assert condition(world, "Available") == ("False", "ScaledToZero")
    assert "spec.replicas is 0" in world.status.message
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
    await world.settle()
    assert world.status.groups_ready == "1/1"
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=0))
    await world.settle()
    assert (world.stage_names(), world.status.reason) == ([], "ScaledToZero")


@pytest.mark.parametrize("restart", [0, 1, 7, 40])
async def test_from_zero_to_one_to_three_to_zero(restart: int) -> None:
    """Also with an operator that remembers nothing of the second, or of the seven, before."""
    world = scaled_world()
    await world.settle()
    traffic = world.nodes.traffic
    traffic.waiting, traffic.arrived = 1, 1
    await until(world, 1)
    decisions = world.status.autoscaling.decisions  # type: ignore[union-attr]
    assert [(one.before, one.to) for one in decisions] == [(0, 1)]
    assert decisions[0].message
    traffic.rate = 5  # of two seconds each, with four slots a group
    await until(world, 3, restart=restart)
    traffic.rate = 0
    if restart and restart < 10:  # no process sees ten idle seconds: nothing goes, however long it takes
        for _ in range(60 // restart):
            world.restart()
            await world.seconds(restart)
        assert target(world) == 3
    await until(world, 0)
    assert traffic.served == traffic.arrived > 5
    record = world.status.autoscaling
    assert record is not None
    directions = [one.to - one.before for one in reversed(record.decisions)]
    assert sum(directions[:-3]) == 3, "up, and then down one by one"
    assert directions[-3:] == [-1, -1, -1]
    assert len(record.starts) == 3 if not restart else len(record.starts) <= 3
    assert {"ScaledUp", "ScaledDown"} <= {event.reason for event in world.cluster.events}
    assert condition(world, "Available") == ("True", "ScaledToZero")


async def test_five_idle_minutes_write_nothing() -> None:
    for groups in (0, 1):
        world = scaled_world(groups, minReplicas=groups)
        await world.settle()
        before = len(world.cluster.writes)
        await world.seconds(300)
        assert world.cluster.writes[before:] == []


async def test_a_steady_load_writes_nothing() -> None:
    world = scaled_world(1, minReplicas=1, maxReplicas=1)
    world.nodes.traffic.rate = 1
    await world.settle()
    before = len(world.cluster.writes)
    await world.seconds(120)
    assert world.cluster.writes[before:] == []
    assert world.nodes.traffic.served > 100


async def test_the_decision_is_written_before_anything_is_done_by_it() -> None:
    world = scaled_world(1, minReplicas=1)
    await world.settle()
    before = len(world.cluster.writes)
    world.cluster.edit(KEY, lambda spec: spec["autoscaling"].update(minReplicas=2))
    await world.one_pass()
    writes = world.cluster.writes[before:]
    assert writes[0] == "status chat"
    assert [one for one in writes if one.startswith("apply Pod")]
    assert target(world) == 2


async def test_the_spec_is_never_written() -> None:
    world = scaled_world(1, minReplicas=2, maxReplicas=2)
    before = world.cluster.objects[KIND, KEY.name]["spec"].copy()
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert world.cluster.objects[KIND, KEY.name]["spec"] == before


async def test_a_silent_gateway_holds_groups_and_a_load_that_is_heard_still_adds_them() -> None:
    world = scaled_world(2, minReplicas=1)
    world.nodes.mute.add("chat-gateway-1")
    await world.seconds(120)
    assert (target(world), world.status.ready_replicas) == (2, 2)
    world.nodes.traffic.rate = 5
    await until(world, 3)
    world.nodes.traffic.rate = 0
    world.nodes.mute.clear()
    await until(world, 1)


async def test_without_autoscaling_again_the_spec_counts() -> None:
    world = scaled_world(2, minReplicas=2)
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1, autoscaling=None))
    await world.settle()
    assert (world.status.groups_ready, world.status.autoscaling) == ("1/1", None)
    assert world.autoscalers.known == {}


async def test_metrics_and_the_recording_of_an_hour() -> None:
    world = scaled_world(1, minReplicas=1)
    await world.settle()
    text = exposition(METRICS, lambda: OperatorState(world.autoscalers))().decode()
    labels = 'deployment="chat",namespace="team"'
    assert f"llama_operator_autoscaling_desired_groups{{{labels}}} 1.0\n" in text
    assert f"llama_operator_autoscaling_serving_groups{{{labels}}} 1.0\n" in text
    assert 'llama_operator_autoscaling_decisions_total{deployment="chat",direction="up",namespace="team"} 0.0\n' in text
    readings = world.autoscalers.readings(KEY)
    assert readings is not None
    header, *rows = as_csv(readings).splitlines()
    assert header.startswith("time,arrived,")
    assert len(rows) > 5
    assert world.autoscalers.readings(Key("team", "other")) is None


@dataclass
class Counting:
    """The port Supervisors, which counts the questions."""

    cells: Supervisors
    asked: list[str] = field(default_factory=list)

    async def state(self, address: str) -> SupervisorAnswer:
        self.asked.append(address)
        return await self.cells.state(address)

    async def accepts(self, address: str, port: int) -> bool:
        return await self.cells.accepts(address, port)

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        return await self.cells.put_desired_state(address, desired, token=token, seal=seal)


async def test_cells_at_rest_are_not_asked_every_second() -> None:
    world = scaled_world(2, minReplicas=2)
    await world.settle()
    (asking,), cells = world.supervisor_caches.values(), Counting(world.nodes)
    pods = snapshot(world.cluster.bodies(KEY)).stages
    for _ in range(15):
        world.nodes.tick()
        await asking.ask(pods, cells, rest=True, now=world.cluster.now)
    assert len(cells.asked) == 2 * 3 + 2 * 1, "leaders every 5 s, workers every 15 s"
    cells.asked.clear()
    other = tuple(replace(pod, ready=not pod.ready) for pod in pods)
    await asking.ask(other, cells, rest=True, now=world.cluster.now)
    assert len(cells.asked) == 4, "a pod that has changed is asked at once"
    cells.asked.clear()
    await asking.ask(other, cells, rest=False, now=world.cluster.now)
    assert len(cells.asked) == 4


@pytest.mark.parametrize("restart", [0, 7])
async def test_a_group_that_starts_for_a_request_stays_for_its_return(restart: int) -> None:
    """The client has left after 5 s, idleAfterSeconds is 20, and the start takes 60 s: also with restarts between."""
    world = scaled_world()
    world.nodes.start_seconds = 60
    await world.settle()
    traffic = world.nodes.traffic
    traffic.waiting, traffic.arrived = 1, 1
    await world.seconds(5)
    assert target(world) == 1
    told = {start for start in world.nodes.expected_starts.values() if start is not None}
    assert told, "the gateways are told when it is expected to serve"
    assert all(0 < start < 3600 for start in told)
    traffic.waiting = 0
    await world.seconds(2)
    assert world.status.autoscaling is not None
    assert world.status.autoscaling.owed, "in the status, for the next operator"
    for second in range(120):
        if restart and second % restart == 0:
            world.restart()
        await world.seconds(1)
        assert target(world) == 1
    assert world.status.groups_ready == "1/1"

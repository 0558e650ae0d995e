"""A node whose devices fail is left after the budget, and the group serves elsewhere: passes against our fakes."""

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from llama_operator.ports import Manifest
from llama_serving.config.reasons import CellReason
from tests.fakes.scheduler import DEVICE, FakeScheduler, foreign_pod, gpu_node
from tests.fakes.world import World, spec_of

ECC = (CellReason.DEVICE_UNHEALTHY, "device 1 (GPU-1): 3 uncorrected ECC errors since the driver was loaded; reset it")
OLD = (CellReason.DRIVER_TOO_OLD, "the NVIDIA driver is 550.54, the engine's CUDA needs at least 580")
DEVICES = 3


def town(nodes: int = 3, *, seed: int = 1, **changes: Any) -> World:
    """A world of nodes with devices for one stage each, and a deployment of one group of two stages."""
    device = {"resource": DEVICE, "count": DEVICES}
    asked = {"replicas": 1, "device": device, "sharding": {"pipeline": 2, "tensor": DEVICES}}
    world = World(spec_of(**asked | changes))
    world.cluster.nodes = [gpu_node(f"node-{number}", DEVICES) for number in range(nodes)]
    world.nodes.scheduler = FakeScheduler(world.cluster, Random(seed))
    return world


def nodes_of(world: World) -> list[str]:
    """Where the group's pods are."""
    return sorted(pod["spec"].get("nodeName", "") for pod in stage_pods(world))


def stage_pods(world: World) -> list[Manifest]:
    return [world.cluster.objects["Pod", name] for name in world.stage_names()]


def strikes(world: World) -> dict[str, float]:
    return {one.node: one.strikes for one in world.status.node_strikes}


def events(world: World, reason: str) -> list[str]:
    return [event.message for event in world.cluster.events if event.reason == reason]


async def until_said(world: World, reason: str, *, within: int) -> int:
    for second in range(within):
        await world.seconds(1)
        if world.status.reason == reason:
            return second
    raise AssertionError(f"not {reason} within {within} s: {world.status.reason}: {world.status.message}")


@pytest.mark.parametrize("bad", range(3))
@pytest.mark.parametrize("fault", [ECC, OLD])
async def test_a_group_leaves_a_node_after_the_budget_and_serves_elsewhere(bad: int, fault: Any) -> None:
    world = town()
    name = f"node-{bad}"
    world.nodes.bad_devices[name] = fault
    for _ in range(300):
        await world.seconds(1)
        if world.status.groups_ready == "1/1":
            break
    assert world.status.groups_ready == "1/1", world.status.message
    assert name not in nodes_of(world)
    if strikes(world):  # the scheduler may have placed it well at once
        assert strikes(world) == {name: pytest.approx(3, abs=0.1)}
        assert any(f"leaves node {name}" in message for message in events(world, "NodeLeft"))
        assert any(message.startswith(f"node {name} has ") for message in events(world, "NodeAvoided"))
        assert any(fault[1] in message for message in events(world, fault[0].value))


async def test_the_fault_is_said_at_once_with_node_stage_and_device_and_ends_by_itself() -> None:
    world = town(nodes=2)
    world.nodes.bad_devices["node-1"] = ECC
    await until_said(world, "DeviceUnhealthy", within=40)
    placed = await until_placed(world)
    assert f"on node-1: {ECC[1]}" in world.status.message
    assert world.status.message.startswith(f"group 0 stage {placed.index('node-1')} ")
    world.nodes.bad_devices.clear()
    await until_said(world, "Serving", within=40)


async def until_placed(world: World) -> list[str]:
    """Nodes of the stages, in their order."""
    await world.seconds(1)
    return [pod["spec"]["nodeName"] for pod in stage_pods(world)]


@pytest.mark.parametrize("restart", [False, True])
async def test_where_no_other_node_has_room_the_group_stays_and_the_first_start_fails_with_its_cause(
    restart: bool,
) -> None:
    world = town(nodes=2)
    world.nodes.bad_devices["node-0"] = ECC
    await until_said(world, "DeviceUnhealthy", within=40)
    uids = world.stage_uids()
    await world.seconds(120)
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.reason) == ("Failed", "DeviceUnhealthy")
    assert ECC[1] in rollout.message
    assert world.stage_uids() == uids, "its pods stay"
    assert events(world, "NodeLeft") == []
    if restart:
        world.restart()
    world.nodes.bad_devices.clear()
    await world.seconds(60)
    assert (world.status.reason, world.status.rollout) == ("Serving", None), world.status.message


async def test_room_on_a_good_node_is_used_when_it_comes_and_strikes_keep_nobody_from_running() -> None:
    world = town(nodes=3)
    world.cluster.foreign.append(foreign_pod("batch", DEVICES, node="node-2"))
    world.nodes.bad_devices["node-0"] = ECC
    await until_said(world, "DeviceUnhealthy", within=40)
    await world.seconds(200)
    assert world.status.groups_ready == "0/1"
    assert "node-0" in nodes_of(world)
    world.cluster.foreign.clear()
    await world.seconds(120)
    assert world.status.groups_ready == "1/1", world.status.message
    assert nodes_of(world) == ["node-1", "node-2"]


async def test_two_bad_nodes_do_not_pass_a_group_between_them() -> None:
    world = town(nodes=2, sharding={"pipeline": 1, "tensor": DEVICES})
    world.nodes.stages = 1
    world.nodes.bad_devices |= {"node-0": ECC, "node-1": OLD}
    moves, before = [], ""
    for second in range(900):
        await world.seconds(1)
        now = "".join(nodes_of(world))
        if now and before and now != before:
            moves.append(second)
        before = now or before
    pauses = [after - before for before, after in pairwise(moves)]
    assert pauses == sorted(pauses)
    assert 1 <= len(moves) <= 3, moves
    assert all(one.strikes <= 12 for one in world.status.node_strikes)


CONDITION = {"type": "GpuMemWatch", "status": "True"}


async def test_a_node_whose_gpus_somebody_says_to_be_bad_is_not_used_and_is_named() -> None:
    for seed in range(3):
        world = town(nodes=3, seed=seed)
        assert world.cluster.nodes is not None
        world.cluster.nodes[1]["status"]["conditions"].append(CONDITION)
        await world.settle()
        assert nodes_of(world) == ["node-0", "node-2"]
        assert strikes(world) == {}
    world = town(nodes=2)
    assert world.cluster.nodes is not None
    world.cluster.nodes[1]["status"]["conditions"].append(CONDITION)
    await world.seconds(30)
    assert world.status.groups_ready == "0/1"
    assert "1 with the condition GpuMemWatch True" in world.status.message or "node-0 comes" in world.status.message
    world.cluster.nodes[1]["status"]["conditions"].remove(CONDITION)
    await world.seconds(90)
    assert world.status.groups_ready == "1/1", world.status.message


async def test_without_a_view_of_the_nodes_new_pods_prefer_others_and_a_node_is_left_ever_more_seldom() -> None:
    world = town(nodes=2, sharding={"pipeline": 1, "tensor": DEVICES})
    world.nodes.stages = 1
    world.cluster.nodes = None
    world.nodes.scheduler = None  # every pod comes back to node-0
    world.nodes.bad_devices["node-0"] = ECC
    await world.seconds(120)
    assert strikes(world)["node-0"] > 2.5
    assert world.status.node_strikes[0].times_left == 1
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Failed"
    affinity = stage_pods(world)[0]["spec"]["affinity"]["nodeAffinity"]
    assert list(affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    uids = world.stage_uids()
    await world.seconds(300)
    assert world.stage_uids() == uids, "it is not moved again for ten minutes"
    world.nodes.bad_devices.clear()
    await world.seconds(60)
    assert world.status.reason == "Serving"

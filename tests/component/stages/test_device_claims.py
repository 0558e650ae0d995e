"""Devices of a ResourceClaim: nobody but the scheduler can count them, and the operator says so and stays careful."""

from typing import Any

import pytest

from tests.fakes.scheduler import FakeScheduler, gpu_node
from tests.fakes.world import KEY, World, spec_of

CLAIMED: dict[str, Any] = {"resource": "nvidia.com/gpu", "count": 1, "claimTemplate": "gpus"}


async def served(**changes: Any) -> World:
    """Two groups whose devices come from claims, on nodes that offer none by name."""
    world = World(spec_of(device=CLAIMED, **changes))
    world.cluster.give("ResourceClaimTemplate", "gpus")
    world.cluster.nodes = [gpu_node("node-0", 0), gpu_node("node-1", 0)]
    world.nodes.scheduler = FakeScheduler(world.cluster)
    await world.settle()
    assert world.status.groups_ready == "2/2", world.status.message
    return world


async def test_groups_are_admitted_by_what_can_be_counted() -> None:
    world = await served()
    specs = [world.cluster.objects["Pod", name]["spec"] for name in world.stage_names()]
    assert all(spec["resourceClaims"][0]["resourceClaimTemplateName"] == "gpus" for spec in specs)
    assert not any(spec["schedulingGates"] for spec in specs), "the gates are gone"


@pytest.mark.parametrize(("strategy", "taken"), [("auto", "drain"), ("surge", "surge")])
async def test_auto_takes_no_surge_and_surge_does_as_it_is_asked(strategy: str, taken: str) -> None:
    world = await served(rollout={"strategy": strategy})
    before = world.stage_uids()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.settle(400)
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.preview.strategy) == ("Done", taken), world.status.message
    if strategy == "auto":
        said = "the devices of ResourceClaimTemplate gpus cannot be counted (device.claimTemplate)"
        assert said in rollout.preview.why
    assert before.keys().isdisjoint(world.stage_uids())


async def test_only_the_scheduler_knows_that_no_device_is_free() -> None:
    world = await served()
    pod = world.cluster.objects["Pod", world.stage_names()[0]]
    world.nodes.no_room.add(pod["metadata"]["name"])
    del world.cluster.objects["Pod", pod["metadata"]["name"]]
    for _ in range(120):
        await world.seconds(1)
        if world.status.requeues:
            break
    assert world.status.requeues, "a group of which one pod got no device is put back behind its gates"
    assert world.status.groups_ready == "1/2"
    world.nodes.no_room.clear()
    for _ in range(300):
        await world.seconds(1)
        if world.status.groups_ready == "2/2":
            break
    assert world.status.groups_ready == "2/2", world.status.message

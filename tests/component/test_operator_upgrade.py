"""A new version of the operator restarts no model: groups keep the images that they run with.

The new default images are taken in by the next change that makes new pods.
"""

from typing import Any

import pytest

from llama_operator.plan.settings import Settings
from tests.component.test_gangs import Town
from tests.fakes.scheduler import DEVICE
from tests.fakes.world import KEY, SETTINGS, World, spec_of

NEW = Settings("serving:2", "gateway:2", SETTINGS.operator_namespace)


def images(world: World) -> set[tuple[str, str]]:
    """Images of the engine and of the stager in all stage pods."""
    specs = [world.cluster.objects["Pod", name]["spec"] for name in world.stage_names()]
    return {(spec["containers"][0]["image"], spec["initContainers"][0]["image"]) for spec in specs}


def upgrade(world: World, settings: Settings = NEW) -> None:
    """A new version of the operator takes over."""
    world.settings = settings
    world.restart()


async def served(**changes: Any) -> World:
    """A world in which the operator of the first version has brought up both groups."""
    world = World(spec_of(**changes))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    return world


async def test_a_new_operator_restarts_no_group() -> None:
    world = await served()
    pods, rollout, configs = world.stage_uids(), world.status.rollout, group_objects(world)
    upgrade(world)
    await world.seconds(60)
    assert world.stage_uids() == pods
    assert (world.status.rollout, world.status.groups_ready, world.status.reason) == (rollout, "2/2", "Serving")
    assert group_objects(world) == configs, "not even their objects are written"


def group_objects(world: World) -> dict[str, Any]:
    """Objects of the groups, by kind and name."""
    found = world.cluster.objects.items()
    return {f"{kind}/{name}": body for (kind, name), body in found if kind == "ConfigMap" and name.startswith("chat-")
            and "gateway" not in name}  # fmt: skip


async def test_the_next_change_of_the_pods_takes_the_new_images() -> None:
    world = await served()
    upgrade(world)
    await world.seconds(5)
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.settle()
    assert (world.status.groups_ready, images(world)) == ("2/2", {("serving:2", "gateway:2")})


async def test_a_restart_replaces_the_groups_in_turn_and_takes_the_new_images() -> None:
    """The way of ``kubectl rollout restart``, which knows no LlamaDeployment (case E6)."""
    world = await served()
    before = world.stage_uids()
    upgrade(world)
    restart(world, "2026-01-31T12:00:00Z")
    ready = []
    for _ in range(200):
        await world.seconds(1)
        ready.append(world.status.ready_replicas)
    assert (world.status.groups_ready, images(world)) == ("2/2", {("serving:2", "gateway:2")})
    assert not before.keys() & world.stage_uids().keys()
    assert min(ready) >= 1, "both were out at a time"
    again = world.stage_uids()
    restart(world, "2026-01-31T14:00:00+02:00")  # the same moment
    await world.settle()
    assert world.stage_uids() == again
    restart(world, "2026-02-01T12:00:00Z")
    await world.settle()
    assert not again.keys() & world.stage_uids().keys()


def restart(world: World, moment: str) -> None:
    """``kubectl patch`` of the field."""
    world.cluster.edit(KEY, lambda spec: spec.update(rollout={**spec.get("rollout", {}), "restartedAt": moment}))


async def test_weights_are_swapped_in_the_pods_that_are_there() -> None:
    world = await served()
    pods = world.stage_uids()
    upgrade(world)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert (world.status.groups_ready, world.stage_uids()) == ("2/2", pods)
    assert world.status.weights.startswith("v2@")


async def test_a_group_that_is_lost_comes_back_as_it_was() -> None:
    world = await served()
    upgrade(world)
    await world.seconds(5)
    del world.cluster.objects["Pod", world.stage_names()[0]]
    await world.settle()
    assert (world.status.groups_ready, images(world)) == ("2/2", {("serving:1", "gateway:1")})


async def test_groups_that_start_for_the_first_time_go_on() -> None:
    world = World(spec_of())
    world.nodes.start_seconds = 20
    await world.seconds(10)
    pods = world.stage_uids()
    assert (len(pods), world.status.groups_ready) == (4, "0/2")
    upgrade(world)
    await world.settle()
    assert (world.status.groups_ready, world.stage_uids()) == ("2/2", pods)


async def test_a_rollout_goes_on_with_the_images_that_it_began_with() -> None:
    world = await served()
    world.nodes.start_seconds = 10
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.seconds(8)
    record = world.status.rollout
    assert record is not None
    assert record.phase == "RollingOut"
    upgrade(world)
    await world.settle()
    assert world.status.rollout is not None
    assert (world.status.rollout.started, world.status.rollout.phase) == (record.started, "Done")
    assert (world.status.groups_ready, images(world)) == ("2/2", {("serving:1", "gateway:1")})


async def test_a_rollout_that_was_given_up_is_not_tried_again() -> None:
    world = await served()
    world.nodes.good_pods = {group.pod_hash for group in world.status.groups}
    world.nodes.failing_starts = True
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.settle(400)
    record, pods = world.status.rollout, world.stage_uids()
    assert record is not None
    assert record.phase == "Held"
    upgrade(world)
    await world.seconds(30)
    assert (world.status.rollout, world.stage_uids()) == (record, pods)


async def test_an_image_of_the_spec_that_is_removed_gives_way_to_the_default() -> None:
    world = await served(images={"serving": "mine:1"})
    assert images(world) == {("mine:1", "gateway:1")}
    world.cluster.edit(KEY, lambda spec: spec.pop("images"))
    await world.settle()
    assert images(world) == {("serving:1", "gateway:1")}


async def test_an_image_of_the_spec_is_rolled_out() -> None:
    world = await served()
    upgrade(world)
    world.cluster.edit(KEY, lambda spec: spec.update(images={"serving": "serving:2"}))
    await world.settle()
    assert (world.status.groups_ready, {serving for serving, _ in images(world)}) == ("2/2", {"serving:2"})


@pytest.mark.parametrize("new", [NEW, Settings("serving:1", "gateway:2", SETTINGS.operator_namespace)], ids=str)
async def test_two_deployments_keep_serving(new: Settings) -> None:
    """Both were down at the same time once (case E4)."""
    town = Town(1)
    town.nodes.stages = 1
    one_stage = spec_of(device={"resource": DEVICE, "count": 1}, sharding={"pipeline": 1, "tensor": 1}, replicas=1)
    keys = town.add("a", one_stage), town.add("b", one_stage)
    await town.seconds(40)
    stages = {pod["metadata"]["uid"] for pod in town.cluster.pods()}
    town.settings = new
    for _ in range(60):
        await town.seconds(1)
        assert [(town.status(key).groups_ready, town.status(key).reason) for key in keys] == [("1/1", "Serving")] * 2
    assert {pod["metadata"]["uid"] for pod in town.cluster.pods()} == stages

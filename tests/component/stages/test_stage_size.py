"""CPU and memory of stages for which nobody asked: derived once, shown, and kept."""

from tests.fakes.world import KEY, World, spec_of

FORMER = {"cpu": "4", "memory": "32Gi", "sharedMemory": "2Gi"}


def sizes(world: World) -> set[tuple[str, str]]:
    """CPU and memory of the engines of all stages."""
    specs = [world.cluster.objects["Pod", name]["spec"] for name in world.stage_names()]
    requests = [spec["containers"][0]["resources"]["requests"] for spec in specs]
    return {(one["cpu"], one["memory"]) for one in requests}


async def served(**resources: str) -> World:
    """Two groups whose spec sets these sizes and no others."""
    world = World(spec_of(resources=resources))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    return world


async def test_what_is_not_set_is_derived_and_shown() -> None:
    world = await served(cpu="2")
    shown = world.status.stage_resources
    assert shown is not None
    assert shown.derived == ("memory", "sharedMemory")
    assert sizes(world) == {("2", shown.memory)}
    assert shown.memory != FORMER["memory"]
    world = await served(**FORMER)
    assert world.status.stage_resources is not None
    assert (world.status.stage_resources.derived, sizes(world)) == ((), {("4", "32Gi")})


async def test_an_object_of_before_keeps_its_pods_when_its_sizes_are_taken_out() -> None:
    world = await served(**FORMER)
    pods = world.stage_uids()
    world.cluster.edit(KEY, lambda spec: spec.pop("resources"))
    await world.settle()
    assert (world.stage_uids(), sizes(world)) == (pods, {("4", "32Gi")})
    del world.cluster.objects["Pod", world.stage_names()[0]]
    await world.settle()
    assert (world.status.groups_ready, sizes(world)) == ("2/2", {("4", "32Gi")})
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert sizes(world) != {("4", "32Gi")}, "a change that makes new pods derives them anew"


async def test_derived_sizes_outlive_other_weights_and_an_operator_that_is_started_again() -> None:
    world = await served()
    pods, shown = world.stage_uids(), world.status.stage_resources
    world.restart()
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert (world.stage_uids(), world.status.stage_resources) == (pods, shown)
    assert world.status.weights.startswith("v2@")

"""Labels and annotations of ``spec.podTemplate`` reach running pods in place; no group is started again for them."""

from typing import Any

from llama_operator.api import KIND
from llama_serving.config import names
from tests.fakes.world import KEY, World


def stages(world: World) -> dict[str, dict[str, Any]]:
    return {
        pod["metadata"]["uid"]: pod["metadata"]
        for pod in world.cluster.pods()
        if names.LABEL_STAGE in pod["metadata"]["labels"]
    }


def edit(world: World, **spec: Any) -> None:
    body = world.cluster.objects[KIND, KEY.name]
    body["spec"] = {**body["spec"], **spec}
    body["metadata"]["generation"] += 1


async def test_a_change_is_made_in_place_and_a_removal_too() -> None:
    world = World()
    await world.settle()
    before = stages(world)
    edit(world, podTemplate={"labels": {"team": "a"}, "annotations": {"cost": "1"}})
    await world.settle()
    after = stages(world)
    assert after.keys() == before.keys(), "the pods are the same"
    assert {(meta["labels"].get("team"), meta["annotations"].get("cost")) for meta in after.values()} == {("a", "1")}
    edit(world, podTemplate={})
    await world.settle()
    assert {uid: meta["labels"] for uid, meta in stages(world).items()} == {
        uid: meta["labels"] for uid, meta in before.items()
    }
    assert all("cost" not in meta["annotations"] for meta in stages(world).values())


async def test_new_pods_have_them_from_their_creation() -> None:
    world = World()
    await world.settle()
    edit(world, podTemplate={"labels": {"team": "a"}}, contextLength=1024)
    await world.settle()
    assert {meta["labels"].get("team") for meta in stages(world).values()} == {"a"}
    writes = [call for call in world.cluster.calls if call.startswith("metadata ")]
    new = {meta["name"] for meta in stages(world).values()}
    assert not {call.partition(" ")[2] for call in writes} & new, "they were created so"


async def test_a_pass_that_writes_is_not_ready_and_the_next_one_is() -> None:
    world = World()
    await world.settle()
    assert ready(world) == "True"
    edit(world, podTemplate={"labels": {"team": "a"}})
    await world.one_pass()
    assert world.status.observed_generation == 2
    assert ready(world) == "False"
    await world.settle()
    assert ready(world) == "True"


def ready(world: World) -> str:
    (found,) = [one.status for one in world.status.conditions if one.type == "Ready"]
    return found

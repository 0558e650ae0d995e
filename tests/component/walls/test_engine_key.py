"""Groups that the whole loop makes ask for the engine's key wherever the deployment's gateways surely know it."""

from typing import Any

import pytest

from llama_operator.plan.settings import Settings
from llama_serving.config import names
from tests.fakes.world import SETTINGS, World, spec_of

LATER = Settings("serving:2", "gateway:2", SETTINGS.operator_namespace)


def keyed(world: World) -> set[bool]:
    """Whether stages mount the key."""
    pods = [world.cluster.objects["Pod", name] for name in world.stage_names()]
    mounts = [{one["mountPath"] for one in pod["spec"]["containers"][0]["volumeMounts"]} for pod in pods]
    return {names.ENGINE_KEY_PATH.rpartition("/")[0] in found for found in mounts}


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({}, True),
        ({"images": {"serving": "mine:1"}}, True),
        ({"images": {"gateway": "old:1"}}, False),
        ({"walls": {"engineKey": "unused"}}, False),
    ],
)
async def test_groups_ask_for_the_key(changes: dict[str, Any], *, asks: bool) -> None:
    world = World(spec_of(**changes))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert keyed(world) == {asks}


async def test_a_stage_that_is_made_again_under_a_later_operator_asks_too() -> None:
    """Its template keeps the images that it took, by which nothing is said of the gateways."""
    world = World(spec_of())
    await world.settle()
    world.settings = LATER
    world.restart()
    for name in world.stage_names()[:2]:
        world.cluster.objects.pop(("Pod", name))
    await world.settle()
    assert (world.status.groups_ready, keyed(world)) == ("2/2", {True})

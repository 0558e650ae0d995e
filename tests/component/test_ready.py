"""``Ready`` is True only when everything is as the observed spec asks: at every moment of every kind of edit."""

from collections.abc import Callable
from typing import Any

import pytest

from llama_operator.api import KIND
from llama_serving.config import names
from tests.fakes.world import KEY, World

Edit = Callable[[dict[str, Any]], object]

EDITS: dict[str, Edit] = {
    "groups": lambda spec: spec.update(replicas=3),
    "fewer groups": lambda spec: spec.update(replicas=1),
    "none": lambda spec: spec.update(replicas=0),
    "pods": lambda spec: spec.update(contextLength=1024),
    "weights": lambda spec: spec["model"].update(revision="v2"),
    "gateway": lambda spec: spec.update(gateway={"replicas": 3}),
    "labels": lambda spec: spec.update(podTemplate={"labels": {"team": "a"}}),
    "both": lambda spec: spec.update(contextLength=1024, gateway={"queueTimeoutSeconds": 5}),
}


def is_ready(world: World) -> bool:
    """The operator speaks of the present spec, and says that it is ready."""
    body = world.cluster.objects[KIND, KEY.name]
    status = world.status
    said = {one.type: one.status for one in status.conditions}
    return status.observed_generation == body["metadata"]["generation"] and said.get("Ready") == "True"


def served(world: World) -> list[tuple[Any, ...]]:
    """What serves: of each leader its hash, its weights, its labels; and the gateway as it is asked for."""
    pods = [pod["metadata"] for pod in world.cluster.pods() if names.LABEL_STAGE in pod["metadata"]["labels"]]
    found = [
        (
            meta["labels"][names.LABEL_POD_HASH],
            meta["annotations"].get(names.ANNOTATION_WEIGHTS),
            meta["labels"].get("team"),
        )
        for meta in pods
        if meta["labels"][names.LABEL_STAGE] == "0" and "deletionTimestamp" not in meta
    ]
    gateway = world.cluster.objects["Deployment", f"{KEY.name}-gateway"]["spec"]
    return [*sorted(found, key=str), (gateway["replicas"], str(gateway["template"]))]


@pytest.mark.parametrize("kind", EDITS)
async def test_ready_comes_back_only_with_what_was_asked_for(kind: str) -> None:
    world = World()
    await world.settle()
    assert is_ready(world)
    before = served(world)
    moments: list[World] = []
    world.cluster.edit(KEY, EDITS[kind])
    await world.settle(moments=moments)
    assert is_ready(world)
    assert served(world) != before, "the edit changes something"
    early = [served(moment) for moment in moments if is_ready(moment) and served(moment) != served(world)]
    assert early == []


async def test_a_new_object_is_ready_once_and_for_all() -> None:
    world = World()
    moments: list[World] = []
    await world.settle(moments=moments)
    said = [is_ready(moment) for moment in moments]
    assert said == sorted(said)
    assert not said[0]
    assert said[-1]

"""A spec of which no group can be made is held; what is no edit, and what runs already, is left alone."""

from typing import Any

import pytest

from llama_operator.observe.pods import pod_view
from llama_operator.ports import Manifest
from llama_serving.config import names
from tests.fakes.world import KEY, World, spec_of

GOLDEN = {"goldenPrompts": [{"prompt": "Capital of France?", "expect": "Paris"}]}
GONE = ("WeightsGone", "the claim holds no folder m")


async def serving(**changes: Any) -> World:
    world = World(spec_of(**changes))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    return world


def phase_and_reason(world: World) -> tuple[str, str]:
    rollout = world.status.rollout
    return (rollout.phase, rollout.reason) if rollout else ("", "")


async def test_weights_that_serve_and_are_not_found_again_are_no_edit() -> None:
    world = await serving()
    before = world.stage_uids()
    world.nodes.unread_weights['"revision": "v1"'] = GONE
    await world.seconds(10)
    assert phase_and_reason(world) == ("", "")
    assert (world.status.reason, world.status.groups_ready, world.stage_uids()) == ("WeightsGone", "2/2", before)


async def test_the_next_edit_ends_a_hold_before_its_own_weights_are_known() -> None:
    world = await serving()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=9000))
    await world.seconds(3)
    assert phase_and_reason(world) == ("Held", "LayoutRefused")
    started = world.status.rollout and world.status.rollout.started
    await world.seconds(3)
    assert world.status.rollout is not None
    assert world.status.rollout.started == started

    world.nodes.resolve_seconds = 10
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=2048, model=spec["model"] | {"revision": "v2"}))
    await world.seconds(4)
    assert phase_and_reason(world) == ("", "")
    assert world.status.reason == "InspectingModel"
    await world.settle()
    assert phase_and_reason(world) == ("Done", "")
    assert world.status.weights.startswith("v2@")


async def test_a_rollout_that_was_rolled_back_keeps_its_cause() -> None:
    world = await serving(verify=GOLDEN)
    world.nodes.behave("v2", golden=False)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert phase_and_reason(world) == ("Held", "VerifyFailed")
    world.nodes.unread_weights['"revision": "v2"'] = GONE
    await world.seconds(5)
    assert phase_and_reason(world) == ("Held", "VerifyFailed")


async def test_weights_that_go_while_their_rollout_runs_do_not_hold_it() -> None:
    world = await serving()
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.seconds(3)
    assert phase_and_reason(world)[0] == "RollingOut"
    world.nodes.unread_weights['"revision": "v2"'] = GONE
    await world.seconds(3)
    assert phase_and_reason(world)[0] == "RollingOut"
    world.nodes.unread_weights.clear()
    await world.settle()
    assert phase_and_reason(world) == ("Done", "")
    assert world.status.weights.startswith("v2@")


@pytest.mark.parametrize("strategy", ["drain", "surge"])
@pytest.mark.parametrize("last", [{"contextLength": 1024}, {"contextLength": 2048}, {"contextLength": 4096}])
@pytest.mark.parametrize("changed", [0, 1])
async def test_a_spec_that_is_refused_supersedes_the_rollout_that_runs_and_touches_nothing(
    strategy: str, last: dict[str, int], changed: int
) -> None:
    """The next edit goes on from there: to what was rolled out, back to what was before, or to something else."""
    world = await serving(rollout={"strategy": strategy}, contextLength=2048)
    before = world.stage_uids()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    for _ in range(100):
        await world.seconds(1)
        rollout = world.status.rollout
        new = [name for name in world.stage_uids() if name not in before]
        if rollout and rollout.phase == "RollingOut" and new and rollout.step.startswith(str(changed)):
            break
    serving_then = {pod["metadata"]["name"] for pod in world.cluster.pods() if in_rotation(pod)}
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=9000))
    await world.seconds(3)
    assert phase_and_reason(world) == ("Held", "LayoutRefused")
    assert [one.outcome for one in world.status.history] == ["superseded"]
    await world.seconds(60)
    assert phase_and_reason(world) == ("Held", "LayoutRefused")
    assert len(world.status.history) == 1
    assert serving_then <= {pod["metadata"]["name"] for pod in world.cluster.pods() if in_rotation(pod)}
    assert world.status.groups_ready == "2/2", world.status.message
    world.cluster.edit(KEY, lambda spec: spec.update(last))
    await world.settle()
    assert phase_and_reason(world)[0] in ("Done", "")
    assert (world.status.reason, world.status.groups_ready) == ("Serving", "2/2")
    assert len({pod["metadata"]["labels"][names.LABEL_POD_HASH] for pod in stage_pods(world)}) == 1


def stage_pods(world: World) -> list[Manifest]:
    return [pod for pod in world.cluster.pods() if names.LABEL_STAGE in pod["metadata"]["labels"]]


def in_rotation(pod: Manifest) -> bool:
    return pod_view(pod).in_rotation is True

"""The first start of an object fails after a short time, keeps its pods, and serves when what was missing is there."""

import pytest

from llama_operator.api.v1alpha1.status import RolloutStatus
from tests.fakes.world import KEY, World, spec_of

CLAIM = "models"  # of the model's source
FORBIDDEN = 'Pod "x" is forbidden: no PriorityClass with name nope was found'


def condition(world: World, kind: str) -> tuple[str, str]:
    return next((one.status, one.reason) for one in world.status.conditions if one.type == kind)


def is_done(world: World) -> bool:
    """All groups serve, and nothing is left of the failure."""
    return world.status.reason == "Serving" and world.status.rollout is None


async def failed(world: World, *, within: int) -> RolloutStatus:
    """Wait until the first start has failed; it says so by its rollout, and tools that wait are told."""
    for _ in range(within):
        await world.seconds(1)
        rollout = world.status.rollout
        if rollout is not None:
            assert rollout.phase == "Failed"
            assert world.status.message == rollout.message
            assert condition(world, "Stalled") == ("True", rollout.reason)
            return rollout
    raise AssertionError(f"not within {within} s: {world.status.message}")


@pytest.mark.parametrize("restart", [False, True])
async def test_a_claim_that_is_missing_fails_the_first_start_which_serves_when_it_is_there(restart: bool) -> None:
    world = World()
    world.nodes.missing_claims.add(CLAIM)
    rollout = await failed(world, within=150)
    assert rollout.reason == "VolumeUnavailable"
    assert "the first start failed: " in rollout.message
    assert "nothing has moved for 120 s" in rollout.message
    before = world.stage_uids()
    if restart:
        world.restart()
    await world.seconds(60)
    assert world.status.rollout == rollout, "neither its moment nor its numbers change while it stands still"
    assert world.stage_uids() == before, "the pods stay for whoever looks at them"
    world.nodes.missing_claims.clear()
    await world.settle()
    assert is_done(world), world.status.message
    assert condition(world, "Ready")[0] == "True"


@pytest.mark.parametrize("scaling", [{}, {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}])
async def test_pods_that_are_refused_fail_the_first_start_and_are_tried_at_growing_pauses(
    scaling: dict[str, object],
) -> None:
    world = World(spec_of(**scaling))
    world.cluster.admission = lambda manifest: FORBIDDEN if manifest["kind"] == "Pod" else ""
    rollout = await failed(world, within=90)
    assert rollout.reason == "ApiRejected"
    assert "nope" in rollout.message
    pauses = []
    for _ in range(6):
        await world.seconds(60)
        pauses.append(world.pause)
    assert pauses == sorted(pauses)
    assert pauses[0] >= 10
    assert pauses[-1] > 100
    world.cluster.admission = lambda _: ""
    await world.settle()
    assert is_done(world), world.status.message


async def test_an_edit_begins_the_first_start_anew() -> None:
    world = World()
    world.nodes.missing_claims.add(CLAIM)
    await failed(world, within=150)
    world.nodes.missing_claims.clear()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=512))
    await world.seconds(1)
    assert world.status.rollout is None, world.status.message
    await world.settle()
    assert world.status.reason == "Serving"

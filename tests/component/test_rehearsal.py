"""A rehearsal in the loop: what is tried, what is held, and that a restart or a fault at any call changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from llama_operator.ports import Rejected, Retry
from llama_serving.config import names
from tests.fakes.world import KEY, World, spec_of

IMAGE = {"serving": "registry.example/serving:2"}


async def serving(**changes: Any) -> World:
    world = World(spec_of(**changes))
    await world.settle()
    return world


def change(world: World) -> None:
    world.cluster.edit(KEY, lambda spec: spec.update(images=dict(IMAGE)))


def tried(world: World) -> list[str]:
    return sorted(name for name in (pod["metadata"]["name"] for pod in world.cluster.pods()) if "rehearsal" in name)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("step", ["image", "configuration", "admission"])
async def test_what_cannot_run_is_held_and_the_groups_stay(step: str, replicas: int) -> None:
    world = await serving(replicas=replicas)
    before = world.stage_uids()
    if step == "image":
        world.nodes.missing_images[IMAGE["serving"]] = (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE["serving"]}": not found'
        )
    elif step == "configuration":
        world.nodes.refused_config = "the engine refuses the configuration: ValueError: block_size must be even"
    else:
        world.cluster.refusals["Pod"] = 'Pod "x" is forbidden: no PriorityClass with name nope was found'
    change(world)
    for _ in range(40):
        await world.seconds(1)
        assert world.status.groups_ready == f"{replicas}/{replicas}", world.status.message
        assert world.stage_uids() == before
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.rehearsal is not None
    assert (rollout.phase, rollout.rehearsal.outcome) == ("Held", "failed")
    expected = {"image": "ImageUnavailable", "configuration": "EngineConfigRefused", "admission": "ApiRejected"}
    assert world.status.reason == expected[step]
    assert "is held before its first step" in world.status.message
    assert "; the groups serve v1@" in world.status.message
    degraded = {one.type: one.status for one in world.status.conditions}
    assert (degraded["Degraded"], degraded["Available"]) == ("True", "True")

    world.cluster.edit(KEY, lambda spec: spec.pop("images"))
    await world.settle()
    assert world.stage_uids() == before
    assert (world.status.reason, world.status.rollout, tried(world)) == ("Serving", None, [])
    assert ("ConfigMap", f"chat-{rollout.key}-rehearsal") not in world.cluster.objects


async def test_a_rehearsal_that_may_not_run_is_held() -> None:
    """Where a quota leaves no room for its own pod, nothing is known of image and configuration."""
    world = await serving(replicas=1)
    before = world.stage_uids()
    world.cluster.refusals["Pod"] = (
        'pods "x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4'
    )
    world.cluster.edit(KEY, lambda spec: spec.update(rollout={"strategy": "drain"}, contextLength=1024))
    await world.seconds(20)
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.reason) == ("Held", "ApiRejected"), rollout.message
    assert "rehearsal" in rollout.message
    assert world.stage_uids() == before


STAGED = {"source": "s3://models/m", "revision": "v1", "license": "apache-2.0", "acceptLicense": True}
MISSING: list[tuple[dict[str, Any], dict[str, Any] | None, str, str]] = [
    (
        {"staging": {"sharedClaimName": "fast"}}, None, "VolumeUnavailable",
        "claim fast does not exist in namespace team (staging.sharedClaimName); create it, or correct the field",
    ),
    (
        {"staging": {"sharedClaimName": "fast"}}, {"metadata": {"name": "fast", "deletionTimestamp": "2026-01-01"}},
        "VolumeUnavailable",
        "claim fast in namespace team (staging.sharedClaimName) is being deleted; create it anew when it is gone",
    ),
    (
        {"staging": {"sharedClaimName": "fast"}}, {"status": {"phase": "Lost"}}, "VolumeUnavailable",
        "claim fast in namespace team (staging.sharedClaimName) has lost its PersistentVolume; create the claim anew",
    ),
    (
        {"model": {**STAGED, "credentialsSecret": "fast"}}, None, "ReferenceMissing",
        "the Secret fast does not exist in namespace team (model.credentialsSecret); create it, or correct the field",
    ),
]  # fmt: skip


@pytest.mark.parametrize("strategy", ["auto", "drain"])
@pytest.mark.parametrize(("edit", "there", "reason", "sentence"), MISSING)
async def test_what_the_new_pods_name_and_nobody_made_is_held(
    *, edit: dict[str, Any], there: dict[str, Any] | None, reason: str, sentence: str, strategy: str
) -> None:
    """No pod of a rehearsal mounts a claim for staged weights; the group would be drained for pods that cannot run."""
    world = await serving(model=STAGED, replicas=1, rollout={"strategy": strategy})
    before = world.stage_uids()
    kind = "Secret" if "model" in edit else "PersistentVolumeClaim"
    if there:
        world.cluster.give(kind, "fast", **there)
    world.cluster.edit(KEY, lambda spec: spec.update(edit))
    for _ in range(60):
        await world.seconds(1)
        assert (world.status.groups_ready, world.stage_uids()) == ("1/1", before), world.status.message
    assert world.status.reason == reason
    assert sentence in world.status.message
    world.cluster.give(kind, "fast", status={"phase": "Bound"})
    await world.seconds(100)  # a pause before the next question
    assert before.keys().isdisjoint(world.stage_uids()) or strategy == "auto", world.status.message


async def test_a_look_that_fails_is_tried_again_and_one_that_is_not_allowed_is_done_without() -> None:
    for error, phase in ((Retry("503"), "Rehearsing"), (Rejected("forbidden"), "Done")):
        world = await serving(model=STAGED, replicas=2)
        world.cluster.intercept = failing("look up", error)
        world.cluster.give("PersistentVolumeClaim", "fast", status={"phase": "Bound"})
        world.cluster.edit(KEY, lambda spec: spec.update(staging={"sharedClaimName": "fast"}))
        await world.seconds(30)
        rollout = world.status.rollout
        assert rollout is not None
        assert rollout.phase == phase, world.status.message
        world.cluster.intercept = lambda _: None
        await world.seconds(120)  # a pause before the next question
        assert (world.status.reason, world.status.groups_ready) == ("Serving", "2/2")


def failing(call: str, error: Exception) -> Callable[[str], None]:
    def intercept(what: str) -> None:
        if what.startswith(call):
            raise error

    return intercept


async def test_the_pods_of_a_rehearsal_go_when_it_has_passed() -> None:
    world = await serving(replicas=2)
    before = world.stage_uids()
    change(world)
    await world.seconds(2)
    assert tried(world)
    assert all(
        names.LABEL_GROUP not in world.cluster.objects["Pod", name]["metadata"]["labels"] for name in tried(world)
    )
    await world.settle()
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.rehearsal is not None
    assert (rollout.phase, rollout.rehearsal.outcome, tried(world)) == ("Done", "passed", [])
    assert before.keys().isdisjoint(world.stage_uids())


async def test_a_restart_in_every_second_of_a_rehearsal_ends_the_same() -> None:
    calm = await serving(replicas=2)
    change(calm)
    moments: list[World] = []
    await calm.settle(moments=moments)
    for moment in moments[:12]:
        twin = moment.fork()
        twin.restart()
        await twin.settle()
        assert twin.shape() == calm.shape()


async def test_a_fault_at_every_call_of_a_rehearsal_ends_the_same() -> None:
    begin = await serving(replicas=1, rollout={"strategy": "drain"})
    change(begin)
    calm = begin.fork()
    first = len(calm.cluster.calls)
    await calm.seconds(6)
    calls = len(calm.cluster.calls)
    await calm.settle()
    for call in range(first, calls):
        twin = begin.fork()
        twin.cluster.faults[call] = Retry("503", after=1.0)
        before = twin.stage_uids()
        for _ in range(4):
            await twin.seconds(1)
            held = twin.status.rollout
            if held is None or held.phase == "Rehearsing":
                assert twin.stage_uids() == before, "a group was touched before the rehearsal passed"
        await twin.settle()
        assert twin.shape() == calm.shape(), call


async def test_a_pod_that_ended_from_outside_is_tried_again() -> None:
    world = await serving(replicas=2)
    change(world)
    await world.one_pass()
    await world.one_pass()
    for name in tried(world):
        world.cluster.objects["Pod", name]["status"] = {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "low on memory",
        }
    await world.seconds(5)
    assert (world.status.reason, world.status.groups_ready) == ("RehearsalFailed", "2/2")
    assert "was ended on node" in world.status.message
    assert "low on memory" in world.status.message
    await world.seconds(70)  # a pause before the next try
    await world.settle()
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.phase == "Done"

"""Every edit that cannot work, through all layers: no group is touched, the hold says why, the mended edit goes on.

In every second until the hold, and after it: as many groups serve as before, from the same pods, and no gate is closed.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from llama_operator.ports import Manifest
from llama_operator.preview.scenario import merged
from llama_serving.config import names
from tests.fakes.scheduler import FakeScheduler, gpu_node
from tests.fakes.world import KEY, World, spec_of
from tests.impossible_edits import EDITS, SMALL, ImpossibleEdit, Trouble, taken_back

HELD_WITHIN = 60  # seconds
GROUPS = (1, 2)
TAINT = {"key": "dedicated", "value": "llama", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Admission:
    """What the API server has against an object whose JSON has this text."""

    seen: str
    said: str

    def __call__(self, manifest: Manifest) -> str:
        ours = manifest["kind"] == "NetworkPolicy" or manifest["metadata"]["labels"].get(names.LABEL_STAGE) is not None
        return self.said if ours and self.seen in json.dumps(manifest) else ""


@dataclass
class Story:
    """Groups that serve, and one edit of them."""

    edit: ImpossibleEdit
    groups: int
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.spec: dict[str, Any] = merged(merged(spec_of(replicas=self.groups), SMALL), self.edit.before)
        self.world = World(self.spec)
        self.world.nodes.scheduler = FakeScheduler(self.world.cluster)
        self.world.cluster.nodes = [node(f"node-{number}") for number in range(2)]
        for kind in ("PersistentVolumeClaim", "ResourceClaimTemplate"):
            give(self.world, kind, "weights")
        if self.edit.trouble and self.edit.trouble.step == "nodes" and self.edit.before:
            for one in self.world.cluster.nodes:
                one["spec"] = {"taints": [dict(TAINT)]}

    async def begin(self) -> None:
        await self.world.settle()
        assert self.world.status.groups_ready == f"{self.groups}/{self.groups}", self.world.status.message
        self.before, self.first = self.world.stage_uids(), len(self.world.cluster.writes)
        self.budget = self.protected()

    def protected(self) -> int:
        """Pods of stages that an eviction must leave."""
        found = self.world.cluster.objects.get(("PodDisruptionBudget", "chat-stages"))
        return int(found["spec"]["minAvailable"]) if found else 0

    def change(self, patch: dict[str, Any]) -> None:
        """``kubectl patch``; pods of another hash than those that are there have the stages of this spec."""
        hashes = {pod["metadata"]["labels"].get(names.LABEL_POD_HASH, "") for pod in self.world.cluster.pods()}
        known = dict.fromkeys(hashes, self.world.nodes.stages)
        self.world.nodes.stages_of = known | self.world.nodes.stages_of
        self.spec = merged(self.spec, patch)
        self.world.nodes.stages = self.spec["sharding"]["pipeline"]

        def edit(spec: dict[str, Any]) -> None:
            spec.clear()
            spec.update(self.spec)

        self.world.cluster.edit(KEY, edit)

    async def held(self) -> None:
        """Until the rollout is held; nothing is touched, then or later."""
        for _ in range(HELD_WITHIN):
            await self.untouched_second()
            rollout = self.world.status.rollout
            if rollout and rollout.phase == "Held" and self.world.status.reason == rollout.reason:
                break
        for _ in range(3):
            await self.untouched_second()
        status = self.world.status
        assert status.rollout is not None, status.message
        assert status.rollout.phase == "Held", status.message
        assert status.reason in self.edit.reasons, status.message
        assert [word for word in self.edit.words if word not in status.message] == [], status.message
        assert "is held before its first step" in status.message
        assert "; the groups serve v1@" in status.message

    async def untouched_second(self) -> None:
        await self.world.seconds(1)
        status = self.world.status
        assert status.groups_ready == f"{self.groups}/{self.groups}", status.message
        assert self.world.stage_uids() == self.before, status.message
        assert self.protected() == self.budget, "nodes can be drained as before"
        assert [what for what in self.world.cluster.writes[self.first :] if what.startswith("rotation")] == []

    async def done(self, limit: int = 400) -> None:
        """Until the new rollout is through: at no time fewer groups serve, unless the spec asks for a drain."""
        drains = self.spec.get("rollout", {}).get("strategy") == "drain"
        least = self.groups - (1 if drains or self.edit_of_weights() else 0)
        for _ in range(limit):
            await self.world.seconds(1)
            status = self.world.status
            assert status.ready_replicas >= least, status.message
            if status.rollout and status.rollout.phase == "Done" and status.reason == "Serving":
                break
        status = self.world.status
        assert status.rollout is not None, status.message
        assert (status.rollout.phase, status.reason) == ("Done", "Serving"), status.message
        assert status.groups_ready == f"{self.groups}/{self.groups}"
        if not self.edit_of_weights():
            assert self.before.keys().isdisjoint(self.world.stage_uids())
        assert status.rollout.weights in {model["metadata"]["name"] for model in self.models()}
        assert self.rehearsed() == []

    def edit_of_weights(self) -> bool:
        """Whether only the weights change, which are exchanged in the running pods."""
        return set(self.edit.edit) == {"model"} and set(self.edit.edit["model"]) == {"revision"}

    def models(self) -> list[Manifest]:
        return [body for (kind, _), body in self.world.cluster.objects.items() if kind == "LlamaWeights"]

    def rehearsed(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.world.cluster.pods() if "rehearsal" in pod["metadata"]["name"]]


def node(name: str, pool: str = "llama") -> Manifest:
    found = gpu_node(name, 8, pool=pool, **{"kubernetes.io/hostname": name})
    found["status"]["allocatable"] |= {"cpu": "32", "memory": "256Gi"}
    return found


def begin_trouble(world: World, trouble: Trouble | None) -> None:
    """What the edit meets."""
    if trouble is None:
        return
    nodes = world.nodes
    tables = {"image": nodes.missing_images, "container": nodes.ended_images, "engine": nodes.refused_configs}
    if trouble.step in tables:
        tables[trouble.step][trouble.seen] = trouble.said
    elif trouble.step == "api":
        world.cluster.admission = Admission(trouble.seen, trouble.said)
    elif trouble.step == "weights":
        reason, _, message = trouble.said.partition(": ")
        nodes.unread_weights[trouble.seen] = (reason, message)
    elif trouble.step == "scheduler":
        nodes.absent_schedulers.add(trouble.seen)
    elif trouble.seen == "cordon":
        cordon(world)


def give(world: World, kind: str, name: str) -> None:
    world.cluster.give(kind, name, status={"phase": "Bound"})


def cordon(world: World) -> None:
    for one in world.cluster.nodes or ():
        one["spec"] = {"unschedulable": True}


def end_trouble(world: World) -> None:
    """All causes outside of the spec go away: what was missing comes, what forbade is gone, fitting nodes come."""
    world.cluster.admission = Admission("never in an object", "")
    for table in (world.nodes.missing_images, world.nodes.unread_weights):
        table.clear()
    world.nodes.absent_schedulers.clear()
    for kind in ("PersistentVolumeClaim", "ResourceClaimTemplate", "Secret"):
        give(world, kind, "nope")
    for one in world.cluster.nodes or ():
        one.pop("spec", None)
    assert world.cluster.nodes is not None
    world.cluster.nodes += [node(f"new-{number}", "none") for number in range(4)]


async def held_story(name: str, groups: int) -> Story:
    """A story until its hold, which an operator that is started again keeps."""
    story = Story(EDITS[name], groups)
    await story.begin()
    begin_trouble(story.world, story.edit.trouble)
    story.change(story.edit.edit)
    await story.held()
    story.world.restart()
    await story.held()
    return story


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("name", EDITS)
async def test_it_is_held_and_the_mended_edit_goes_through(name: str, groups: int) -> None:
    story = await held_story(name, groups)
    if story.edit.mended is not None:
        story.change(story.edit.mended)
        await story.done()
        return
    story.change(taken_back(story.edit.edit, merged(merged(spec_of(replicas=groups), SMALL), story.edit.before)))
    await story.world.settle()
    assert story.world.stage_uids() == story.before
    assert (story.world.status.reason, story.world.status.rollout, story.rehearsed()) == ("Serving", None, [])


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("name", [name for name, edit in EDITS.items() if edit.heals])
async def test_it_goes_on_by_itself_when_the_cause_is_gone(name: str, groups: int) -> None:
    story = await held_story(name, groups)
    end_trouble(story.world)
    await story.done()

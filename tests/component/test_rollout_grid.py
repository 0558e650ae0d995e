"""Rollouts from the API server to the cells: calm ones, bad ones, and what happens in the middle.

The whole grid is in tests/unit/operator/plan/rollout/test_rollout_simulation.py, on simulated groups; these few go
through all layers.

In every second of every rollout: ready groups are at least ``replicas - maxUnavailable`` by our own doing, there are at
most ``replicas + maxSurge`` of them, none is in rotation with weights that were not verified, and weights are never
exchanged under requests. At the end all groups serve the new or all the old version, or a hold says why not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from llama_operator.api import KIND
from llama_operator.ports import Manifest
from llama_serving.config import names
from tests.fakes.cluster import stamp
from tests.fakes.models import id_of
from tests.fakes.scheduler import gpu_node
from tests.fakes.world import KEY, World, spec_of

GOLDEN = {"goldenPrompts": [{"prompt": "Capital of France?", "expect": "Paris"}]}
ROOMY = [gpu_node(f"node-{k}", 0) for k in range(2)]


@dataclass(frozen=True)
class Case:
    """One rollout of the grid."""

    change: str  # weights, pods or both
    replicas: int
    surge: int
    unavailable: int
    trouble: str = ""
    canary: int = 0

    @property
    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = {"maxSurge": self.surge, "maxUnavailable": self.unavailable}
        return found | ({"canary": {"groups": self.canary, "seconds": 5}} if self.canary else {})

    def __str__(self) -> str:
        parts = (self.change, f"{self.replicas}", f"+{self.surge}-{self.unavailable}", self.trouble)
        return "-".join(part for part in parts if part)


def edit(case: Case) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        if case.change in ("weights", "both"):
            spec["model"]["revision"] = "v2"
        if case.change in ("pods", "both"):
            spec["contextLength"] = 1024
            if (case.replicas, case.surge) == (1, 0):  # new pods for the only group: its user allows the outage
                spec["rollout"]["strategy"] = "drain"

    return change


async def start(case: Case) -> World:
    world = World(spec_of(replicas=case.replicas, rollout=case.rollout, verify=GOLDEN))
    world.nodes.start_seconds = 2
    world.cluster.nodes = ROOMY
    await world.settle()
    assert world.status.groups_ready == f"{case.replicas}/{case.replicas}"
    return world


def leaders(world: World) -> list[dict[str, Any]]:
    return [pod for pod in world.cluster.pods() if pod["metadata"]["labels"].get(names.LABEL_STAGE) == "0"]


def ready(world: World) -> int:
    found = 0
    for pod in leaders(world):
        conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", [])}
        found += conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
    return found


def units(world: World) -> int:
    return len({name.rpartition("-")[0] for name in world.stage_names()})


@dataclass
class Watch:
    """The invariants, asked in every second; ``lost`` groups are those that something else than we took away."""

    world: World
    case: Case
    replicas: int
    lost: int = 0
    most: int = 0  # replicas that were ever asked for

    def look(self) -> None:
        world, case = self.world, self.case
        assert world.nodes.broken == []
        self.most = max(self.most, self.replicas, case.replicas)
        most = self.most + case.surge
        assert units(world) <= most, f"{units(world)} groups, {world.status.message}"
        least = self.replicas - case.unavailable - self.lost
        assert ready(world) >= least, f"{ready(world)} of {least} ready: {world.status.message}"

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.world.seconds(1)
            self.look()

    async def settle(self, limit: int = 250) -> None:
        """Until nothing is written for a while, looking at each second."""
        quiet = 0
        for _ in range(limit):
            before = len(self.world.cluster.writes)
            await self.seconds(1)
            quiet = quiet + 1 if len(self.world.cluster.writes) == before else 0
            if quiet == 12:
                return
        raise AssertionError(f"not settled: {self.world.status.message}; {self.world.cluster.writes[-6:]}")


def versions(world: World) -> set[tuple[str, str]]:
    """Weights and pod hash of all groups."""
    return {(group.weights, group.pod_hash) for group in world.status.groups}


SHAPES = [(1, 0, 1), (2, 1, 0), (2, 1, 1), (4, 0, 2)]
CALM = [Case(change, *shape) for change in ("weights", "pods", "both") for shape in SHAPES]


@pytest.mark.parametrize("case", CALM, ids=str)
async def test_a_calm_rollout_ends_on_the_new_version(case: Case) -> None:
    world = await start(case)
    old = versions(world)
    world.cluster.edit(KEY, edit(case))
    await Watch(world, case, case.replicas).settle()
    assert world.status.groups_ready == f"{case.replicas}/{case.replicas}"
    assert world.status.reason == "Serving"
    (new,) = versions(world)
    assert new not in old
    assert new[0] == id_of("v1" if case.change == "pods" else "v2")
    assert [past.outcome for past in world.status.history] == ["done"]
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.phase == "Done"
    replaced = "surge" if case.surge else "drain"
    assert rollout.preview.strategy == ("inPlace" if case.change == "weights" and case.unavailable else replaced)
    assert rollout.counts.served_by_new > 0 or case.change == "pods"


def refuse_staging(world: World) -> None:
    world.nodes.behave("v2", staging=("DiskFull", "needs 3 GiB, 1 GiB free on /weights"))


def fail_swap(world: World) -> None:
    world.nodes.behave("v2", swap="stage 1 could not read layer 7")


def fail_golden(world: World) -> None:
    world.nodes.behave("v2", golden=False)


def fail_quality(world: World) -> None:
    world.nodes.behave("v2", logprob=-9.6)


def never_start(world: World) -> None:
    world.nodes.good_pods = {group.pod_hash for group in world.status.groups}
    world.nodes.failing_starts = True


TROUBLES: dict[str, tuple[Callable[[World], None], str]] = {
    "staging": (refuse_staging, "DiskFull"),
    "swap": (fail_swap, "SwapFailed"),
    "golden": (fail_golden, "VerifyFailed"),
    "quality": (fail_quality, "VerifyFailed"),
    "start": (never_start, "EngineFailed"),
}
FEW = [(1, 0, 1), (2, 1, 0), (2, 1, 1)]
BAD = [
    Case(change, *shape, trouble)
    for trouble in TROUBLES
    for change in ("weights", "both")
    for shape in FEW
    if (trouble, change) not in (("start", "weights"), ("staging", "both"), ("swap", "both"))
    if trouble != "swap" or shape[2]  # nothing is exchanged where no group may leave
]


@pytest.mark.parametrize("case", BAD, ids=str)
async def test_a_bad_rollout_ends_on_the_old_version_and_is_held(case: Case) -> None:
    spoil, reason = TROUBLES[case.trouble]
    world = await start(case)
    old = versions(world)
    spoil(world)
    world.cluster.edit(KEY, edit(case))
    await Watch(world, case, case.replicas).settle()
    assert world.status.groups_ready == f"{case.replicas}/{case.replicas}"
    assert versions(world) == old
    assert world.status.reason == reason, world.status.message
    assert "held until the spec changes" in world.status.message
    assert [(past.outcome, past.reason) for past in world.status.history] == [("rolledBack", reason)]
    before = len(world.cluster.writes)
    await world.seconds(60)
    assert len(world.cluster.writes) == before, "a held rollout writes nothing"
    world.nodes.cells.known.clear()
    world.nodes.good_pods, world.nodes.failing_starts = None, False
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v3"))
    await Watch(world, case, case.replicas).settle()
    assert world.status.weights == id_of("v3"), "another wish ends the hold"


# -- in the middle ----------------------------------------------------------------------------------------------------

MIDDLE = (2, 4, 6, 8, 11)
SEVERAL = [Case("weights", 2, 0, 1), Case("both", 2, 1, 1)]


@pytest.mark.parametrize("moment", MIDDLE)
@pytest.mark.parametrize("case", SEVERAL, ids=str)
class TestInTheMiddle:
    async def begin(self, case: Case, moment: int) -> tuple[World, Watch]:
        world = await start(case)
        world.cluster.edit(KEY, edit(case))
        watch = Watch(world, case, case.replicas)
        await watch.seconds(moment)
        return world, watch

    async def test_changed_again(self, case: Case, moment: int) -> None:
        world, watch = await self.begin(case, moment)
        world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v3"))
        await watch.settle()
        assert world.status.weights == id_of("v3")
        assert world.status.reason == "Serving"

    async def test_changed_back(self, case: Case, moment: int) -> None:
        world, watch = await self.begin(case, moment)
        world.cluster.edit(KEY, lambda spec: (spec["model"].update(revision="v1"), spec.update(contextLength=2048)))
        await watch.settle()
        assert world.status.weights == id_of("v1")
        assert world.status.reason == "Serving"
        assert world.status.groups_ready == f"{case.replicas}/{case.replicas}"

    async def test_scaled_up_and_down(self, case: Case, moment: int) -> None:
        world, watch = await self.begin(case, moment)
        world.cluster.edit(KEY, lambda spec: spec.update(replicas=case.replicas + 1))
        watch.replicas, watch.lost = case.replicas + 1, 1
        await watch.seconds(6)
        world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
        watch.replicas, watch.lost = 1, 0
        await watch.settle()
        assert world.status.groups_ready == "1/1"
        assert world.status.weights == id_of("v2")

    async def test_a_pod_is_lost(self, case: Case, moment: int) -> None:
        world, watch = await self.begin(case, moment)
        watch.lost = 1
        world.cluster.vanish("Pod", world.stage_names()[moment % len(world.stage_names())])
        await watch.settle()
        assert world.status.weights == id_of("v2")
        assert world.status.groups_ready == f"{case.replicas}/{case.replicas}"

    async def test_deleted(self, case: Case, moment: int) -> None:
        world, _ = await self.begin(case, moment)
        world.cluster.objects[KIND, KEY.name]["metadata"]["deletionTimestamp"] = stamp(world.cluster.now)
        before = len(world.cluster.writes)
        await world.seconds(5)
        assert len(world.cluster.writes) == before


# -- what is verified -------------------------------------------------------------------------------------------------


async def test_a_prompt_that_fails_is_shown_and_ends_no_service() -> None:
    world = await start(Case("weights", 2, 0, 1))
    world.nodes.behave("v1", golden=False)
    wrong = {"goldenPrompts": [{"prompt": "Capital of Spain?", "expect": "Paris"}]}
    world.cluster.edit(KEY, lambda spec: spec.update(verify=wrong))
    await world.seconds(20)
    assert world.status.groups_ready == "2/2"
    assert world.status.reason == "VerifyFailed"
    assert "'Capital of Spain?' was answered 'banana'" in world.status.message
    world.cluster.vanish("Pod", world.stage_names()[1])
    await world.seconds(40)
    assert world.status.groups_ready == "1/2", "after a start it must pass"


async def test_a_new_group_that_answers_otherwise_stays_out_of_rotation() -> None:
    world = await start(Case("weights", 2, 0, 1))
    world.nodes.cells.stray[2] = "another-answer"
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=3))
    await world.seconds(40)
    assert world.status.groups_ready == "2/3"
    assert world.status.reason == "VerifyFailed"
    assert "group 2 does not pass" in world.status.message
    assert "of 2 other groups on the same weights" in world.status.message
    world.cluster.edit(KEY, lambda spec: spec.update(verify=GOLDEN | {"agreement": False}))
    await world.seconds(20)
    assert world.status.groups_ready == "3/3"


async def test_a_gateway_that_is_not_heard_is_waited_for() -> None:
    world = await start(Case("weights", 2, 0, 1))
    world.nodes.mute.add("chat-gateway-1")
    world.cluster.edit(KEY, edit(Case("weights", 2, 0, 1)))
    await world.seconds(30)
    assert "gateway chat-gateway-1 does not respond" in world.status.message
    assert world.status.groups_ready == "1/2"
    assert world.nodes.cells.swaps == []
    world.nodes.mute.clear()
    await world.settle()
    assert world.status.weights == id_of("v2")


async def test_lost_and_new_groups_of_a_held_rollout_are_made_from_the_last_good_wish() -> None:
    case = Case("both", 2, 1, 1)
    world = await start(case)
    good = versions(world)
    world.nodes.behave("v2", logprob=-9.6)
    world.cluster.edit(KEY, edit(case))
    await world.settle()
    assert world.status.reason == "VerifyFailed"
    world.cluster.vanish("Pod", world.stage_names()[0])
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=3))
    await world.settle()
    assert world.status.groups_ready == "3/3"
    assert versions(world) == good
    assert "held until the spec changes" in world.status.message


def set_revision(revision: str, spec: Manifest) -> None:
    spec["model"]["revision"] = revision


async def test_weights_that_served_are_let_go_of_after_some_more_rollouts() -> None:
    world = await start(Case("weights", 2, 0, 1))

    def known() -> set[str]:
        return {body["spec"]["revision"] for (kind, _), body in world.cluster.objects.items() if kind == "LlamaWeights"}

    for revision in ("v2", "v3", "v4"):
        world.cluster.edit(KEY, partial(set_revision, revision))
        await world.settle()
    assert known() == {"v1", "v2", "v3", "v4"}, "who goes back to them does not wait until they are read again"
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v5"))
    await world.settle()
    assert known() == {"v2", "v3", "v4", "v5"}

"""A thousand arrivals and departures: what decides that groups start and are taken back, against a scheduler by chance.

No rest of a pass: groups are made whole, admitted and taken back by the operator's own functions. Others take devices
between the operator's look and the scheduler's, pods are lost, and an operator ends between two gates of a group.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import RequeueState
from llama_operator.apply import Outcome
from llama_operator.gang_admission import admit_groups
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView, pod_views
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.pods import complete_group
from llama_operator.plan.groups.state import plan_state
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import admissions, requeues_after
from llama_operator.plan.reasons import Explanation
from llama_operator.ports import Capacity, Key, Manifest, Ref, Retry
from llama_serving.config import names
from tests.fakes.cluster import FakeCluster
from tests.fakes.scheduler import DEVICE, FakeScheduler, foreign_pod, gpu_node
from tests.fakes.world import SETTINGS, spec_of
from tests.unit.operator.worlds import world

KEY = Key("team", "x")
#: Seconds; longer than a group may stand in halves with no pod that finds a node: it is taken back, its pods go.
LONGEST = 40
DEVICES = 8
SECOND = timedelta(seconds=1)


def spec_with(stages: int) -> LlamaDeploymentSpec:
    return LlamaDeploymentSpec.model_validate(spec_of(sharding={"pipeline": stages, "tensor": 1}))


def stage_pod(group: GroupId, stage: int, devices: int) -> Manifest:
    """As much of a stage's pod as counts here."""
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: names.COMPONENT_STAGE,
        names.LABEL_GROUP: str(group.ordinal), names.LABEL_STAGE: str(stage), names.LABEL_POD_HASH: group.pod_hash,
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": group.pod(stage), "namespace": KEY.namespace, "labels": labels},
        "spec": {
            "schedulingGates": [{"name": names.GATE_GROUP}],
            "containers": [{"resources": {"requests": {DEVICE: str(devices)}}}],
        },
    }  # fmt: skip


@dataclass
class Yard:
    """Nodes, groups that are wanted, and somebody else's pods."""

    random: Random
    nodes: int
    wanted: dict[GroupId, tuple[int, int]] = field(default_factory=dict)  # stages, devices of each
    requeues: dict[str, tuple[RequeueState, ...]] = field(default_factory=dict)  # by deployment
    holds: dict[GroupId, Explanation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.nodes = [gpu_node(f"node-{number}", DEVICES) for number in range(self.nodes)]
        self.scheduler = FakeScheduler(self.cluster, self.random)

    def pods_of(self, group: GroupId) -> tuple[PodView, ...]:
        mine = (pod for pod in self.cluster.pods() if pod["metadata"]["name"].startswith(f"{group.name}-"))
        return tuple(sorted(pod_views(mine), key=lambda pod: pod.stage))

    def snapshot(self, deployment: str) -> Snapshot:
        found = world(capacity=Capacity(()), known=False)
        status = found.status.model_copy(update={"requeues": self.requeues.get(deployment, ())})
        return replace(found, status=status)

    async def second(self) -> None:
        """Passes of all deployments, then the scheduler's turn."""
        self.holds.clear()
        for deployment in sorted({group.deployment for group in self.wanted}):
            await self._one_pass(deployment)
        self._steal()
        pending = [pod for pod in self.scheduler.pods() if not pod["spec"].get("nodeName")]
        self.random.shuffle(pending)
        for pod in pending:
            if not pod["spec"].get("schedulingGates"):
                self.scheduler.place(pod)
        for pod in [pod for pod in self.cluster.pods() if "deletionTimestamp" in pod["metadata"]]:
            if self.random.random() < 0.3:
                self.cluster.vanish("Pod", pod["metadata"]["name"])
        self.cluster.now += SECOND

    def _steal(self) -> None:
        """Between the operator's look and the scheduler somebody takes devices."""
        admitted = any(not pod["spec"].get("nodeName") and not pod["spec"]["schedulingGates"]
                       for pod in self.cluster.pods())  # fmt: skip
        if admitted and self.random.random() < 0.5:
            thief = foreign_pod(f"thief-{len(self.cluster.calls)}", self.random.randint(DEVICES // 2, DEVICES))
            self.scheduler.place(thief)
            self.cluster.foreign.append(thief)
            del self.cluster.foreign[: -self.nodes // 2]  # the oldest leave: there is always something to be had

    async def _one_pass(self, deployment: str) -> None:
        seen, now = self.snapshot(deployment), self.cluster.now
        mine = {group: size for group, size in self.wanted.items() if group.deployment == deployment}
        units, going, returned, whole = [], set(), [], []
        for group, (stages, devices) in mine.items():
            pods = self.pods_of(group)
            steps = complete_group(pods, group, spec_with(stages), state=plan_state(seen, SETTINGS, now))
            for delete in steps.deletes:
                going.add(delete.name)
                await self.cluster.delete(KEY, Ref("v1", "Pod", delete.name, delete.uid), grace=delete.grace)
            for create in steps.creates:
                await self.cluster.apply(KEY, stage_pod(group, create.stage, devices), force=False)
            returned += [group] if steps.requeued else []
            whole += [] if steps.creates or steps.deletes else [group]
            if pods:
                units.append(Group(group, pods, {}, None))
        items, later = admissions(units, seen, whole=whole, going=frozenset(going), now=now)
        outcome = Outcome()
        await admit_groups(items, key=KEY, cluster=self.cluster, outcome=outcome, now=now)
        self.requeues[deployment] = requeues_after(
            self.requeues.get(deployment, ()), returned, groups=units, wanted=mine, now=now
        )  # fmt: skip
        self.holds |= {GroupId(deployment, hold.group or 0, ""): hold for hold in (*outcome.problems, *later)}

    def halves(self) -> list[tuple[str, int, frozenset[str]]]:
        """Groups some pods of which have a node while others have none, with how many have, and which pods there are.

        A pod that was lost and made again begins the time anew.
        """
        found = []
        for group, (stages, _) in self.wanted.items():
            pods = self.pods_of(group)
            placed = sum(bool(pod.node) for pod in pods)
            if 0 < placed < stages:
                found.append((group.name, placed, frozenset(pod.uid for pod in pods if pod.alive)))
        return found

    def placed(self) -> int:
        return sum(
            sum(bool(pod.node) for pod in self.pods_of(group)) == stages for group, (stages, _) in self.wanted.items()
        )


def change(yard: Yard, number: int) -> None:
    """Something happens that the operator did not decide."""
    random = yard.random
    what = random.choice(("group", "group", "group", "leave", "leave", "arrive", "depart", "depart", "lose", "crash"))
    if what == "group" and len(yard.wanted) < 6:
        group = GroupId(random.choice(("one", "other", "third")), random.randrange(3), "r")
        yard.wanted.setdefault(group, (random.choice((2, 2, 3)), random.choice((2, 4, DEVICES, DEVICES))))
    elif what == "leave" and yard.wanted:
        group = random.choice(list(yard.wanted))
        del yard.wanted[group]
        for pod in yard.pods_of(group):
            yard.cluster.vanish("Pod", pod.name)
    elif what == "arrive" and len(yard.cluster.foreign) < yard.nodes // 2:
        yard.cluster.foreign.append(foreign_pod(f"job-{number}", random.randint(1, DEVICES)))
    elif what == "depart" and yard.cluster.foreign:
        yard.cluster.foreign.pop(random.randrange(len(yard.cluster.foreign)))
    elif what == "lose" and (pods := yard.cluster.pods()):
        yard.cluster.vanish("Pod", random.choice(pods)["metadata"]["name"])
    elif what == "crash":  # the next removal of a gate does not come through
        calls = len(yard.cluster.calls)
        yard.cluster.faults |= {calls + ahead: Retry("the API server is away") for ahead in range(8, 12)}


@pytest.mark.parametrize("seed", range(8))
async def test_a_thousand_arrivals_and_departures_leave_no_group_in_halves(seed: int) -> None:
    yard = Yard(Random(seed), nodes=4)
    torn: Counter[tuple[str, int, frozenset[str]]] = Counter()
    served = seen = 0
    for number in range(125):
        change(yard, number)
        for _ in range(yard.random.choice((1, 2, 5, 40))):
            try:
                await yard.second()
            except Retry:
                continue
            torn = Counter({half: torn[half] + 1 for half in yard.halves()})
            assert max(torn.values(), default=0) <= LONGEST, f"change {number}: {torn}"
            assert min(yard.scheduler.free().values()) >= 0
            served = max(served, yard.placed())
            seen += len(torn)
    assert served, "groups were placed"
    assert seen, "others took what a group was to have"
    yard.cluster.foreign.clear()
    yard.cluster.faults.clear()
    for _ in range(12):  # the longest pause is over
        yard.cluster.now += timedelta(seconds=100)
        for _ in range(3):
            await yard.second()
    assert yard.halves() == []
    waiting = [group for group in yard.wanted if not any(pod.node for pod in yard.pods_of(group))]
    assert yard.placed() + len(waiting) == len(yard.wanted)
    assert len(yard.holds) >= bool(waiting)

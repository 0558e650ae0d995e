"""All pods of a group find room, or none keeps any: whole passes of several deployments against our fakes."""

from collections import Counter
from itertools import groupby, pairwise
from random import Random
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentStatus
from llama_operator.ports import Key, Manifest
from llama_operator.reconcile import Edges, reconcile
from llama_serving.config import names
from tests.fakes.cluster import FakeCluster
from tests.fakes.nodes import FakeNodes
from tests.fakes.scheduler import DEVICE, FakeScheduler, foreign_pod, gpu_node
from tests.fakes.world import SETTINGS, spec_of

WHOLE = 3  # devices of a node; FACTS allows as many shards


def gpu_spec(devices: int = WHOLE, **changes: Any) -> Manifest:
    """Groups of two stages with this many devices each."""
    device = {"resource": DEVICE, "count": devices}
    return spec_of(device=device, sharding={"pipeline": 2, "tensor": devices}, **{"replicas": 1} | changes)


class Town:
    """Deployments that share nodes; the loops of one process run one after the other."""

    def __init__(self, nodes: int, random: Random | None = None) -> None:
        self.cluster = FakeCluster()
        self.cluster.nodes = [gpu_node(f"node-{number}", WHOLE) for number in range(nodes)]
        self.random = random or Random(1)
        self.nodes = FakeNodes(self.cluster, scheduler=FakeScheduler(self.cluster, self.random))
        self.edges = Edges(self.cluster, self.nodes, self.nodes)
        self.keys: list[Key] = []
        self.settings = SETTINGS

    def add(self, name: str, spec: Manifest) -> Key:
        key = Key("team", name)
        self.cluster.create_deployment(key, spec)
        self.keys.append(key)
        return key

    def status(self, key: Key) -> LlamaDeploymentStatus:
        return LlamaDeploymentStatus.model_validate(
            self.cluster.objects["LlamaDeployment", key.name].get("status") or {}
        )

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            for key in self.keys:
                await reconcile(
                    self.cluster.bodies(key), edges=self.edges, settings=self.settings, now=self.cluster.now
                )  # fmt: skip
            self.tick()

    def tick(self) -> None:
        """A second: pods of others are placed before or after ours, as chance will have it."""
        first = self.random.random() < 0.5
        if first:
            self._place_foreign()
        self.nodes.tick()
        if not first:
            self._place_foreign()

    def _place_foreign(self) -> None:
        for pod in self.cluster.foreign:
            if not pod["spec"].get("nodeName") and self.nodes.scheduler:
                self.nodes.scheduler.place(pod)

    def halves(self) -> dict[str, str]:
        """Groups some pods of which have a node while others have none, with their nodes."""
        placed: dict[str, list[str]] = {}
        for pod in self.cluster.pods():
            labels = pod["metadata"]["labels"]
            if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_STAGE:
                group = f"{labels[names.LABEL_DEPLOYMENT]}-{labels[names.LABEL_POD_HASH]}-{labels[names.LABEL_GROUP]}"
                placed.setdefault(group, []).append(pod["spec"].get("nodeName", ""))
        return {group: str(nodes) for group, nodes in placed.items() if 0 < sum(map(bool, nodes)) < 2}


async def test_one_group_runs_whole_and_the_other_takes_over_when_it_goes() -> None:
    town = Town(nodes=3)
    one, other = town.add("one", gpu_spec()), town.add("other", gpu_spec())
    await town.seconds(30)
    assert (town.status(one).groups_ready, town.status(other).groups_ready) == ("1/1", "0/1")
    said = town.status(other)
    assert said.reason == "WaitingForRoom"
    assert said.message.startswith(f"group 0 needs 2 x 3 {DEVICE}, 3 are free: node-")
    assert "has 3 in use by team/one-" in said.message
    assert "; of 3 nodes node-" in said.message
    assert said.groups[0].nodes == ("", "")
    writes = len(town.cluster.writes)
    await town.seconds(60)
    assert len(town.cluster.writes) == writes, "waiting writes nothing"
    town.keys.remove(one)
    for kind, name in [name for name in town.cluster.objects if name[1] == "one" or name[1].startswith("one-")]:
        town.cluster.vanish(kind, name)
    await town.seconds(40)
    assert town.status(other).groups_ready == "1/1"


async def test_room_for_one_group_is_not_given_twice_in_one_second() -> None:
    """Loops look at the room before the scheduler has seen what the other one was given."""
    for seed in range(4):
        town = Town(nodes=3, random=Random(seed))
        for name in ("one", "other", "third"):
            town.add(name, gpu_spec())
        for _ in range(25):
            await town.seconds(1)
            assert town.halves() == {}
        assert sorted(town.status(key).groups_ready for key in town.keys) == ["0/1", "0/1", "1/1"]


async def test_a_group_that_was_placed_in_part_is_taken_back_and_asked_for_ever_more_seldom() -> None:
    town = Town(nodes=2)
    key = town.add("one", gpu_spec())
    admitted, phases = [], []
    for second in range(400):
        given = len(town.cluster.writes)
        await reconcile(town.cluster.bodies(key), edges=town.edges, settings=SETTINGS, now=town.cluster.now)
        if any(what.startswith("admit") for what in town.cluster.writes[given:]):
            admitted.append(second)
            town.cluster.foreign.append(foreign_pod(f"thief-{second}", WHOLE, node="node-0"))
        rollout = town.status(key).rollout
        phases.append(rollout.phase if rollout else "")
        town.nodes.tick()
        if not town.halves():  # the thief stays as long as the group is there in halves
            town.cluster.foreign.clear()
    pauses = [after - before for before, after in pairwise(admitted)]
    assert len(pauses) >= 2, admitted
    assert all(after > 1.4 * before for before, after in pairwise(pauses)), pauses
    assert town.status(key).requeues[0].times >= 2
    assert [phase for phase, _ in groupby(phases)] == ["", "Failed"], "it fails once"
    town.cluster.foreign.clear()
    await town.seconds(400)
    assert town.status(key).groups_ready == "1/1"
    assert town.status(key).requeues == ()


async def test_one_group_at_a_time_waits_with_pods() -> None:
    town = Town(nodes=2)
    key = town.add("one", gpu_spec(replicas=4))
    await town.seconds(60)
    said = town.status(key)
    assert said.groups_ready == "1/4"
    assert said.message.endswith("; groups 2, 3 come after it")
    assert sorted({pod["metadata"]["labels"].get(names.LABEL_GROUP) for pod in town.cluster.pods()} - {None}) == [
        "0", "1"
    ]  # fmt: skip
    assert town.cluster.nodes is not None
    town.cluster.nodes += [gpu_node(f"more-{number}", WHOLE) for number in range(4)]
    await town.seconds(60)
    assert town.status(key).groups_ready == "3/4"


@pytest.mark.parametrize("seed", range(2))
async def test_whole_passes_leave_no_group_in_halves(seed: int) -> None:
    """Groups come, go, lose pods; others take and leave devices between a look and the scheduler.

    A thousand such changes, without the rest of the passes, are in
    tests/unit/operator/plan/placement/test_gang_simulation.py.
    """
    random = Random(seed)
    town = Town(nodes=6, random=random)  # whole groups have four of them, wherever the small one lies
    for name, devices in (("whole", WHOLE), ("small", 1), ("other", WHOLE)):
        town.add(name, gpu_spec(devices, replicas=1, rollout={"strategy": "drain"}))
    torn: Counter[str] = Counter()
    for change in range(20):
        _change(town, change, random)
        for _ in range(random.randint(1, 6)):
            await town.seconds(1)
            halves = town.halves()
            torn = Counter({group: torn[group] + 1 for group in halves})
            assert max(torn.values(), default=0) < 45, f"change {change}: {halves}"
            assert min(town.nodes.scheduler.free().values()) >= 0 if town.nodes.scheduler else False
    town.cluster.foreign.clear()
    for key in town.keys:
        town.cluster.edit(key, lambda spec: spec.update(replicas=1))
    await town.seconds(200)
    assert town.halves() == {}
    assert [town.status(key).groups_ready for key in town.keys] == ["1/1"] * 3


def _change(town: Town, number: int, random: Random) -> None:
    """Something happens that nobody of ours decided."""
    what = random.choice(("arrive", "arrive", "leave", "scale", "scale", "lose"))
    if what == "arrive" and len(town.cluster.foreign) < 8:
        town.cluster.foreign.append(foreign_pod(f"job-{number}", random.randint(1, WHOLE)))
    elif what == "leave" and town.cluster.foreign:
        town.cluster.foreign.pop(random.randrange(len(town.cluster.foreign)))
    elif what == "scale":
        replicas = random.randint(1, 3)
        town.cluster.edit(random.choice(town.keys), lambda spec: spec.update(replicas=replicas))
    elif what == "lose":
        pods = [pod for pod in town.cluster.pods() if names.LABEL_STAGE in pod["metadata"]["labels"]]
        if pods:
            town.cluster.vanish("Pod", random.choice(pods)["metadata"]["name"])

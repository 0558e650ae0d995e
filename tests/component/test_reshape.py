"""Groups of one shape take the places of groups of another on nodes that are full: to the end, or not at all.

In every second: the groups that serve are at least ``replicas - maxUnavailable``, or as many as served before where
those were fewer. At the end: either all groups are new and serve, or none was touched and a sentence says what to do.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from llama_operator.api import KIND
from llama_serving.config import names
from tests.component.test_gangs import Town
from tests.fakes.scheduler import DEVICE, gpu_node
from tests.fakes.world import spec_of


@dataclass(frozen=True)
class Shape:
    """So many groups of so many pods with so many devices each."""

    groups: int
    devices: int
    stages: int = 1

    def spec(self, **rollout: Any) -> dict[str, Any]:
        return spec_of(
            device={"resource": DEVICE, "count": self.devices},
            sharding={"pipeline": self.stages, "tensor": self.devices},
            replicas=self.groups,
            rollout=rollout,
        )


@dataclass
class Reshape:
    """One change of shape on nodes of these sizes."""

    nodes: tuple[int, ...]
    before: Shape
    after: Shape
    rollout: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    served: int = 0

    async def begin(self) -> None:
        self.town = Town(0, Random(self.seed))
        self.town.cluster.nodes = [gpu_node(f"node-{number}", size) for number, size in enumerate(self.nodes)]
        self.town.nodes.stages = self.before.stages
        self.town.nodes.start_seconds = 2
        self.key = self.town.add("chat", self.before.spec(**self.rollout))
        await self.town.seconds(25)
        self.served, self.old = len(self.serving()), self.hashes()

    async def edit(self, seconds: int = 150) -> None:
        body = self.town.cluster.objects[KIND, "chat"]
        body["spec"], body["metadata"]["generation"] = self.after.spec(**self.rollout), 2
        self.town.nodes.stages_of = dict.fromkeys(self.old, self.before.stages)
        self.town.nodes.stages = self.after.stages
        least = min(self.served, self.after.groups - self.rollout.get("maxUnavailable", 1))
        quiet = 0
        for _ in range(seconds):
            writes = len(self.town.cluster.writes)
            await self.town.seconds(1)
            assert len(self.serving()) >= least, self.town.status(self.key).message
            quiet = quiet + 1 if len(self.town.cluster.writes) == writes else 0
            if quiet == 15:
                return
        raise AssertionError(f"not settled: {self.town.status(self.key).message}")

    def serving(self) -> list[dict[str, Any]]:
        return [pod for pod in self._leaders() if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]

    def hashes(self) -> set[str]:
        return {pod["metadata"]["labels"][names.LABEL_POD_HASH] for pod in self.serving()}

    def _leaders(self) -> list[dict[str, Any]]:
        return [pod for pod in self.town.cluster.pods() if pod["metadata"]["labels"].get(names.LABEL_STAGE) == "0"]

    def check_end(self) -> str:
        """Return "done", "held", or "short": all groups are new, and the nodes hold fewer than are wanted."""
        status = self.town.status(self.key)
        said = f"{status.reason}: {status.message}; {status.rollout}"
        if not self.hashes() & self.old and status.groups_ready == f"{self.after.groups}/{self.after.groups}":
            assert status.rollout is None or status.rollout.phase == "Done", said
            return "done"
        if not self.hashes() & self.old:
            assert len(self.serving()) >= self.served, said
            assert status.reason == "WaitingForRoom", said
            return "short"
        assert self.hashes() == self.old, f"old and new groups for ever: {said}"
        assert len(self.serving()) >= min(self.served, self.after.groups), said
        assert status.rollout is not None, said
        assert status.rollout.preview.strategy == "", said
        assert status.message in said
        assert any(word in status.message for word in ("maxUnavailable", "free devices", "free the devices")), said
        return "held"


def _is_ready(pod: dict[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= _condition(pod, "Ready").items()


def _condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


DRAIN = {"strategy": "drain"}


@pytest.mark.parametrize(
    ("reshape", "end", "words"),
    [
        (Reshape((3,), Shape(1, 3), Shape(2, 1)), "held", "maxUnavailable is 1: set it to 2"),
        (Reshape((3,), Shape(1, 3), Shape(2, 1), {"maxUnavailable": 2, **DRAIN}), "done", ""),
        (Reshape((3,), Shape(1, 3), Shape(2, 1), {"maxUnavailable": 2}), "done", ""),
        (Reshape((4,), Shape(1, 3), Shape(2, 1)), "done", ""),
        (Reshape((3,), Shape(3, 1), Shape(1, 3), DRAIN), "done", ""),
        (Reshape((3, 3), Shape(6, 1), Shape(2, 3), DRAIN), "done", ""),
        (Reshape((3, 3, 3, 3), Shape(2, 3, 2), Shape(4, 3), DRAIN), "held", "maxUnavailable is 1: set it to 3"),
        (Reshape((3, 3, 3, 3), Shape(2, 3, 2), Shape(4, 3), {"maxUnavailable": 3, **DRAIN}), "done", ""),
        (Reshape((3, 3, 3), Shape(3, 3), Shape(3, 1, 3), DRAIN), "done", ""),
        (Reshape((3,), Shape(3, 1), Shape(3, 3)), "held", "of 3 groups 1 would find room when all others have left"),
    ],
    ids=lambda value: f"{value.before}-{value.after}" if isinstance(value, Reshape) else None,
)
async def test_a_change_of_shape_on_full_nodes(*, reshape: Reshape, end: str, words: str) -> None:
    await reshape.begin()
    await reshape.edit()
    assert reshape.check_end() == end, reshape.town.status(reshape.key)
    assert words in reshape.town.status(reshape.key).message


@pytest.mark.parametrize("seed", range(12))
async def test_no_change_of_shape_ends_with_old_and_new_groups(seed: int) -> None:
    random = Random(seed)
    nodes = tuple(random.randint(2, 4) for _ in range(random.randint(1, 3)))
    rollout = {"maxUnavailable": random.randint(0, 2), "maxSurge": random.randint(1, 2)}
    before, after = (Shape(random.randint(1, 3), random.choice((1, 3)), random.choice((1, 1, 2))) for _ in range(2))
    found = Reshape(nodes, before, after, rollout=rollout, seed=seed)
    await found.begin()
    changes = (before.devices, before.stages) != (after.devices, after.stages)
    if found.served == before.groups and changes:
        await found.edit()
        assert found.check_end() in ("done", "held", "short")

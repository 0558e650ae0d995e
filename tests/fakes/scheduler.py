"""A scheduler of a small world: any node that has the room, chosen by chance; no pod knows of its group.

It counts for itself, in whole devices, so that it can contradict the operator's own count.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from llama_operator.observe.pods import kept_from
from llama_operator.ports import Manifest
from tests.fakes.cluster import FakeCluster, set_condition

DEVICE = "nvidia.com/gpu"


@dataclass
class FakeScheduler:
    """Places pods on ``cluster.nodes``."""

    cluster: FakeCluster
    random: Random = field(default_factory=lambda: Random(1))

    def place(self, pod: Manifest) -> None:
        """Give the pod a node, or say that there is none."""
        free = self.free()
        wanted = pod["spec"].get("nodeSelector") or {}
        open_ = [node for node in self.cluster.nodes or () if not node.get("spec", {}).get("unschedulable")]
        labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in open_}
        fitting = [
            name
            for name in sorted(labels)
            if free[name] >= devices_of(pod)
            and wanted.items() <= labels[name].items()
            and name not in kept_from(pod)
            and _allowed(pod, labels[name])
            and self._alone(pod, name)
        ]
        now = self.cluster.now
        if not fitting:
            said = f"0/{len(free)} nodes are available: {len(free)} Insufficient {DEVICE}."
            set_condition(pod, "PodScheduled", False, message=said, reason="Unschedulable", at=now)
            return
        set_condition(pod, "PodScheduled", True, at=now)
        pod["spec"]["nodeName"] = self.random.choice(fitting)

    def free(self) -> Counter[str]:
        """Devices of each node that no pod has."""
        free = Counter({node["metadata"]["name"]: _devices(node) for node in self.cluster.nodes or ()})
        for pod in self.pods():
            if node := pod["spec"].get("nodeName"):
                free[node] -= devices_of(pod)
        return free

    def pods(self) -> list[Manifest]:
        """All pods, whosever."""
        return [*self.cluster.pods(), *self.cluster.foreign]

    def _alone(self, pod: Manifest, node: str) -> bool:
        terms = pod["spec"].get("affinity", {}).get("podAntiAffinity", {})
        for term in terms.get("requiredDuringSchedulingIgnoredDuringExecution", ()):
            labels = term["labelSelector"]["matchLabels"].items()
            others = (other for other in self.pods() if other["spec"].get("nodeName") == node)
            if any(labels <= other["metadata"]["labels"].items() for other in others):
                return False
        return True


def _allowed(pod: Manifest, labels: dict[str, str]) -> bool:
    """Whether one of the required terms holds; only the operator In is known here."""
    nodes = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = nodes.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms")
    by_label = [term["matchExpressions"] for term in terms or () if "matchExpressions" in term]
    return not by_label or any(all(labels.get(one["key"]) in one["values"] for one in term) for term in by_label)


def gpu_node(name: str, devices: int, **labels: str) -> Manifest:
    """A node with this many devices and much of everything else."""
    allocatable = {"cpu": "100", "memory": "1000Gi", "pods": "100", DEVICE: str(devices)}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def foreign_pod(name: str, devices: int, *, node: str = "", priority: int = 0) -> Manifest:
    """A pod of somebody else; without ``node`` it waits for one."""
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "batch", "uid": f"uid-{name}", "labels": {}},
        "spec": {
            "priority": priority,
            "containers": [{"resources": {"requests": {DEVICE: str(devices)}}}],
            **({"nodeName": node} if node else {}),
        },
        "status": {},
    }


def devices_of(pod: Manifest) -> int:
    """Devices that a pod asks for."""
    asked = (container.get("resources", {}).get("requests", {}) for container in pod["spec"].get("containers", ()))
    return sum(int(one.get(DEVICE, 0)) for one in asked)


def _devices(node: Manifest) -> int:
    return int(node["status"]["allocatable"][DEVICE])

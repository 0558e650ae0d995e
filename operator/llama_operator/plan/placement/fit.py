"""Whether all pods of a group find a node: first fit over what is free.

    free = allocatable - requests of the pods on the node - requests of the pods that the scheduler places before us

The result is exact for the pods of one group: they are alike, so a node takes the same number of them in any order.
Before us come pods that the scheduler may place at any moment. A pod that the scheduler has refused counts nothing
until it is placed; otherwise a pod that waits for something else would hold up a group for ever. The check covers what
stage pods can ask for: resources, the number of pods, node selector, required node affinity, taints, and one stage per
node. Devices of a ResourceClaim are not known here: such a pod counts by what else it asks for.

Kubernetes' rules of priority apply: where the free capacity is not enough, the capacity of pods with a lower priority
counts too, because the scheduler preempts those; not for a pod whose PriorityClass never preempts.
"""

from collections.abc import Iterable, Mapping
from math import floor, inf

from llama_operator.plan.placement.node_affinity import meets, show_terms
from llama_operator.plan.sentences import nodes as node_sentences
from llama_operator.plan.sentences import placement as sentences
from llama_operator.ports import Capacity, NodeCapacity, PodRequest

PODS = "pods"
MANY = 10_000  # pods: a node that gives no number takes no more of them
_SLACK = 1e-6  # amounts are sums of floats
_KEEPS_AWAY = frozenset({"NoSchedule", "NoExecute"})

Free = dict[str, dict[str, float]]  # node -> resource -> amount


class FreeCapacity:
    """What is free on the nodes. Every placement leaves less."""

    def __init__(self, capacity: Capacity) -> None:
        self.nodes = tuple(sorted(capacity.nodes, key=lambda node: node.name))
        self.free: Free = {node.name: free_on(node) for node in self.nodes}
        self.reserved: dict[str, list[PodRequest]] = {}  # node -> pods that will come to it
        ahead = (pod for pod in capacity.waiting if not pod.gated and (pod.ours or not pod.refused))
        for pod in sorted(ahead, key=lambda pod: (-pod.priority, pod.namespace, pod.name)):
            self.place((pod,))

    def place(self, pods: tuple[PodRequest, ...]) -> bool:
        """Reserve a node for each of these pods, or change nothing."""
        return self._place(pods, preempt=False) or self._place(pods, preempt=True)

    def _place(self, pods: tuple[PodRequest, ...], *, preempt: bool) -> bool:
        if len(pods) == 1 and not preempt:  # nothing to undo: no copy of the whole table
            return self._place_one(pods)
        free = {node.name: dict(self.free[node.name]) for node in self.nodes}
        if preempt:
            if not all(pod.preempts for pod in pods):
                return False
            _add_preempted(free, self.nodes, min(pod.priority for pod in pods))
        names = fit(pods, self.nodes, free)
        if names is None:
            return False
        for pod, name in zip(pods, names, strict=True):
            _take(self.free[name], pod)
            self.reserved.setdefault(name, []).append(pod)
        return True

    def _place_one(self, pods: tuple[PodRequest, ...]) -> bool:
        names = fit(pods, self.nodes, self.free)
        if names is None:
            return False
        self.reserved.setdefault(names[0], []).append(pods[0])
        return True


def could_ever_fit(pods: tuple[PodRequest, ...], nodes: tuple[NodeCapacity, ...]) -> bool:
    """Tell whether the nodes would hold these pods if there were no others."""
    return fit(pods, nodes, {node.name: {PODS: inf, **node.allocatable} for node in nodes}) is not None


def fit(pods: tuple[PodRequest, ...], nodes: tuple[NodeCapacity, ...], free: Free) -> list[str] | None:
    """Take a node for each pod from ``free``; None when one of them finds none."""
    names = as_many_as_fit(pods, nodes, free)
    return names if len(names) == len(pods) else None


def as_many_as_fit(pods: Iterable[PodRequest], nodes: tuple[NodeCapacity, ...], free: Free) -> list[str]:
    """Take nodes from ``free`` for the first of these pods, up to the one that finds none."""
    names: list[str] = []
    for pod in pods:
        here = (node.name for node in nodes if may_run(pod, node) and not (pod.one_per_node and node.name in names))
        name = next((name for name in here if has_capacity(free[name], pod)), None)
        if name is None:
            break
        _take(free[name], pod)
        names.append(name)
    return names


def free_on(node: NodeCapacity) -> dict[str, float]:
    """Compute what the pods on the node leave. A node that gives no number of pods takes any number."""
    free = {name: amount - node.requested.get(name, 0) for name, amount in node.allocatable.items()}
    return {**free, PODS: node.allocatable.get(PODS, inf) - len(node.pods)}


def has_capacity(free: Mapping[str, float], pod: PodRequest) -> bool:
    """Tell whether this much is enough for the pod."""
    return free.get(PODS, inf) >= 1 and all(
        free.get(name, 0) + _SLACK >= amount for name, amount in pod.requests.items()
    )


def how_many(pod: PodRequest, free: Mapping[str, float]) -> int:
    """Count the pods like this one that so much is enough for."""
    asked = {**pod.requests, PODS: 1}
    takes = (
        (free.get(name, inf if name == PODS else 0) + _SLACK) / amount for name, amount in asked.items() if amount > 0
    )
    return max(floor(min(min(takes), MANY)), 0)


def give_back(free: dict[str, float], pods: Iterable[PodRequest]) -> None:
    """Add to ``free`` what these pods leave."""
    for pod in pods:
        for name, amount in pod.requests.items():
            free[name] = free.get(name, 0) + amount
        free[PODS] = free.get(PODS, inf) + 1


def may_run(pod: PodRequest, node: NodeCapacity) -> bool:
    """Tell whether the node accepts the pod, whatever is free on it."""
    return not why_not(pod, node)


def why_not(pod: PodRequest, node: NodeCapacity) -> str:
    """Name what keeps the pod from the node, in words that follow a number of nodes; empty when nothing does."""
    if not node.ready:
        return sentences.not_ready()
    if not node.schedulable:
        return sentences.cordoned()
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(pod.node_selector.items()))
        return sentences.selector_differs(wanted)
    if not meets(node, pod.node_terms):
        return sentences.affinity_differs(show_terms(pod.node_terms))
    return _why_avoided(pod, node) or _taint(pod, node)


def _why_avoided(pod: PodRequest, node: NodeCapacity) -> str:
    """Name what devices of the node have done, or what others say of them."""
    if node.device_fault and asks_for_devices(pod):
        return node_sentences.with_gpu_fault(node.device_fault)
    return node_sentences.avoided_for_strikes() if node.name in pod.kept_from else ""


def _taint(pod: PodRequest, node: NodeCapacity) -> str:
    for taint in node.taints:
        if taint.get("effect") in _KEEPS_AWAY and not any(_tolerates(item, taint) for item in pod.tolerations):
            return sentences.taint_not_tolerated(taint.get("key", ""))
    return ""


def asks_for_devices(pod: PodRequest) -> bool:
    """Return whether the pod asks for an extended resource, such as nvidia.com/gpu."""
    return any("/" in name and not name.startswith("kubernetes.io/") for name in pod.requests)


def _tolerates(toleration: Mapping[str, object], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")


def _take(free: dict[str, float], pod: PodRequest) -> None:
    for name, amount in pod.requests.items():
        free[name] = free.get(name, 0) - amount
    free[PODS] = free.get(PODS, inf) - 1


def _add_preempted(free: Free, nodes: tuple[NodeCapacity, ...], priority: int) -> None:
    for node in nodes:
        for pod in node.pods:
            if pod.priority < priority:
                give_back(free[node.name], (pod,))

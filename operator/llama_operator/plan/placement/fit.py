"""Whether all pods of a group find a node: first fit over what is free.

    free = allocatable - what pods on the node ask for - what pods ask for that wait for a node before us

Exact for the pods of one group, which are alike: as many of them fit on a node in any order. Before us are pods that
the scheduler may place at any moment; one that it has refused asks for nothing until it is placed, or a pod that waits
for something else would keep a group waiting for ever. What is checked is what stage pods can ask for: resources, the
number of pods, node selector, taints, and one stage per node.

Kubernetes' rules of priority: where the free room is not enough, room of pods with a lower priority counts too, since
the scheduler displaces those; not for a pod whose PriorityClass never preempts.
"""

from collections.abc import Iterable, Mapping
from math import inf

from llama_operator.ports import Capacity, NodeCapacity, PodRequest

PODS = "pods"
_SLACK = 1e-6  # amounts are sums of floats
_KEEPS_AWAY = frozenset({"NoSchedule", "NoExecute"})

Free = dict[str, dict[str, float]]  # node -> resource -> amount


class FreeCapacity:
    """What is free on the nodes; every placement leaves less."""

    def __init__(self, capacity: Capacity) -> None:
        self.rooms = tuple(sorted(capacity.rooms, key=lambda room: room.name))
        self.free: Free = {room.name: free_on(room) for room in self.rooms}
        self.promised: dict[str, list[PodRequest]] = {}  # pods that will come to a node
        waiting = (ask for ask in capacity.waiting if not ask.gated and (ask.ours or not ask.refused))
        for ask in sorted(waiting, key=lambda ask: (-ask.priority, ask.namespace, ask.name)):
            self.place((ask,))

    def place(self, asks: tuple[PodRequest, ...]) -> bool:
        """Give all of these pods their room, or change nothing."""
        return self._place(asks, displace=False) or self._place(asks, displace=True)

    def _place(self, asks: tuple[PodRequest, ...], *, displace: bool) -> bool:
        free = {room.name: dict(self.free[room.name]) for room in self.rooms}
        if displace:
            if not all(ask.preempts for ask in asks):
                return False
            _add_displaced(free, self.rooms, min(ask.priority for ask in asks))
        nodes = fit(asks, self.rooms, free)
        if nodes is None:
            return False
        for ask, node in zip(asks, nodes, strict=True):
            _take(self.free[node], ask)
            self.promised.setdefault(node, []).append(ask)
        return True


def could_ever_fit(asks: tuple[PodRequest, ...], rooms: tuple[NodeCapacity, ...]) -> bool:
    """Whether the nodes would hold these pods if there were no others."""
    return fit(asks, rooms, {room.name: {PODS: inf, **room.allocatable} for room in rooms}) is not None


def fit(asks: tuple[PodRequest, ...], rooms: tuple[NodeCapacity, ...], free: Free) -> list[str] | None:
    """A node for each pod, taken from ``free``; None when one of them finds none."""
    nodes = as_many_as_fit(asks, rooms, free)
    return nodes if len(nodes) == len(asks) else None


def as_many_as_fit(asks: Iterable[PodRequest], rooms: tuple[NodeCapacity, ...], free: Free) -> list[str]:
    """Nodes for the first of these pods, taken from ``free``, up to the one that finds none."""
    nodes: list[str] = []
    for ask in asks:
        here = (room.name for room in rooms if may_run(ask, room) and not (ask.apart and room.name in nodes))
        node = next((name for name in here if holds(free[name], ask)), None)
        if node is None:
            break
        _take(free[node], ask)
        nodes.append(node)
    return nodes


def free_on(room: NodeCapacity) -> dict[str, float]:
    """Beside what is there; a node that does not say how many pods it takes, takes any number."""
    free = {name: amount - room.requested.get(name, 0) for name, amount in room.allocatable.items()}
    return {**free, PODS: room.allocatable.get(PODS, inf) - len(room.users)}


def holds(free: Mapping[str, float], ask: PodRequest) -> bool:
    """Whether this much is enough for the pod."""
    return free.get(PODS, inf) >= 1 and all(
        free.get(name, 0) + _SLACK >= amount for name, amount in ask.requests.items()
    )


def may_run(ask: PodRequest, room: NodeCapacity) -> bool:
    """Whether the node takes the pod, room or not."""
    return not why_not(ask, room)


def why_not(ask: PodRequest, room: NodeCapacity) -> str:
    """What keeps the pod from the node, in words that follow a number of nodes; empty when nothing does."""
    if not room.ready:
        return "not ready"
    if not room.schedulable:
        return "cordoned"
    if any(room.labels.get(key) != value for key, value in ask.node_selector.items()):
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(ask.node_selector.items()))
        return f"without what the node affinity/selector asks for ({wanted})"
    for taint in room.taints:
        if taint.get("effect") in _KEEPS_AWAY and not any(_tolerates(item, taint) for item in ask.tolerations):
            return f"with the taint {taint.get('key')}, which it does not tolerate"
    return ""


def _tolerates(toleration: Mapping[str, object], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")


def _take(free: dict[str, float], ask: PodRequest) -> None:
    for name, amount in ask.requests.items():
        free[name] = free.get(name, 0) - amount
    free[PODS] = free.get(PODS, inf) - 1


def _add_displaced(free: Free, rooms: tuple[NodeCapacity, ...], priority: int) -> None:
    for room in rooms:
        for user in room.users:
            if user.priority < priority:
                for name, amount in user.requests.items():
                    free[room.name][name] = free[room.name].get(name, 0) + amount
                free[room.name][PODS] += 1

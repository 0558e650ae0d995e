"""How many groups that are alike the nodes take, once others have left.

    pods on a node = floor(free / request), least over the resources that a pod asks for
    groups         = sum over the nodes // pods of a group

Pods that are alike each take the same of a node, so it does not matter which node takes which of them. With one pod a
node (spreadStages) it does: places are taken where most room is, as the scheduler does by default.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from llama_operator.plan.placement.fit import PODS, Free, FreeCapacity, give_back, how_many, may_run
from llama_operator.ports import Capacity, PodRequest

Places = Mapping[str, int]  # node -> pods that it takes; "" stands for all nodes with none of the groups


class GroupRoom:
    """Places for groups of ``request``, which are alike, beside and after the groups of ``there``.

    ``there``: the pods of each group, with their nodes. A group is named by its index in it.
    """

    def __init__(
        self, capacity: Capacity, request: tuple[PodRequest, ...], there: Sequence[tuple[PodRequest, ...]]
    ) -> None:
        self._pod, self._size = request[0], len(request)
        self.spread = self._pod.one_per_node
        self._free = _usable(capacity, self._pod, frozenset(pod.uid for pods in there for pod in pods))
        self._on: dict[str, dict[int, list[PodRequest]]] = defaultdict(lambda: defaultdict(list))
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}  # asked for again and again by a search
        self._nodes: dict[int, list[str]] = defaultdict(list)  # group -> nodes with pods of it
        for index, pods in enumerate(there):
            for pod in pods:
                if pod.node in self._free:
                    self._on[pod.node][index].append(pod)
            self._nodes[index] = sorted({pod.node for pod in pods if pod.node in self._free})

    def places(self, left: Collection[int]) -> Places:
        """Count the pods that each node takes when the groups of ``left`` are gone."""
        found = {name: self._takes(name, left) for name in self._free}
        if self.spread:
            return found
        beside = sum(takes for name, takes in found.items() if name not in self._on)
        return {"": beside, **{name: found[name] for name in self._on}}

    def after(self, places: Places, index: int, left: Collection[int]) -> Places:
        """Add what the nodes take more when this group follows those of ``left``."""
        found, now = dict(places), {index, *left}
        for name in self._nodes[index]:
            found[name] += self._takes(name, now) - self._takes(name, left)
        return found

    def place(self, places: Places, *, most: int, placed: int) -> tuple[int, Places]:
        """Count the groups that have a place, at most ``most``, and what is left; ``placed`` have theirs already."""
        if not self.spread:
            return max(placed, min(most, sum(places.values()) // self._size)), places
        found = dict(places)
        while placed < most:
            nodes = sorted((name for name in found if found[name] > 0), key=lambda name: (-found[name], name))
            if len(nodes) < self._size:
                break
            for name in nodes[: self._size]:
                found[name] -= 1
            placed += 1
        return placed, found

    def most(self, places: Places, groups: int) -> int:
        """Count the groups that have a place, at most ``groups``, in the best way to place them."""
        if not self.spread:
            return min(groups, sum(places.values()) // self._size)
        takes = places.values()
        return max(n for n in range(groups + 1) if sum(min(one, n) for one in takes) >= n * self._size)

    def kind(self, index: int) -> object:
        """Name what the leaving of this group changes: two groups of one kind are interchangeable."""
        return repr(sorted((self._node_kind(name), _amounts(self._on[name][index])) for name in self._nodes[index]))

    def beside(self, index: int, left: Collection[int]) -> int:
        """Count the groups that are still on the nodes of this one when those of ``left`` are gone."""
        return len({one for name in self._nodes[index] for one in self._on[name]} - {index, *left})

    def _node_kind(self, name: str) -> str:
        if self.spread or len(self._on[name]) > 1:
            return name
        free = self._free[name]
        return repr(sorted((one, free.get(one, 0)) for one in (*self._pod.requests, PODS)))

    def _takes(self, name: str, left: Collection[int]) -> int:
        gone = tuple(index for index in self._on.get(name, ()) if index in left)
        known = self._known.get((name, gone))
        if known is None:
            free = dict(self._free[name])
            for index in gone:
                give_back(free, self._on[name][index])
            known = self._known[name, gone] = how_many(self._pod, free)
        return known


def _amounts(pods: Sequence[PodRequest]) -> list[str]:
    return sorted(repr(sorted(pod.requests.items())) for pod in pods)


def _usable(capacity: Capacity, pod: PodRequest, own: Collection[str]) -> Free:
    """List what is free on the nodes that may run the pod; what it preempts counts, but not the pods of ``own``."""
    free = FreeCapacity(capacity)
    found = {node.name: dict(free.free[node.name]) for node in free.nodes if may_run(pod, node)}
    for node in free.nodes if pod.preempts else ():
        below = [other for other in node.pods if other.priority < pod.priority and other.uid not in own]
        give_back(found.get(node.name, {}), below)
    return found

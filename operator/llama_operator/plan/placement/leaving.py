"""The capacity of the cluster once some pods have left it."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from llama_operator.ports import Capacity, NodeCapacity, PodRequest


def capacity_without(capacity: Capacity, uids: Collection[str]) -> Capacity:
    """Return the capacity with what the pods of these uids have given back."""
    nodes = tuple(_without(node, uids) for node in capacity.nodes)
    return Capacity(nodes, tuple(pod for pod in capacity.waiting if pod.uid not in uids))


def _without(node: NodeCapacity, uids: Collection[str]) -> NodeCapacity:
    gone = [pod for pod in node.pods if pod.uid in uids]
    if not gone:
        return node
    stay = tuple(pod for pod in node.pods if pod.uid not in uids)
    return replace(node, pods=stay, requested=_less(node.requested, gone))


def _less(requested: Mapping[str, float], gone: list[PodRequest]) -> dict[str, float]:
    given_back = {name: sum(pod.requests.get(name, 0) for pod in gone) for name in requested}
    return {name: amount - given_back[name] for name, amount in requested.items()}

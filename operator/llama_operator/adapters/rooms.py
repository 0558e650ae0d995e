"""From nodes and pods of the cluster to the room on each node; pure."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from llama_operator.api.quantity import parse
from llama_operator.observe import pod_requests
from llama_operator.ports import Manifest, NodeRoom


def rooms_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> tuple[NodeRoom, ...]:
    """One room per node; a pod counts on its node until it has ended."""
    asked: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        if node:
            for name, amount in pod_requests(pod).items():
                asked[node][name] += amount
    return tuple(_room(node, dict(asked[node["metadata"]["name"]])) for node in nodes)


def _room(node: Manifest, asked: dict[str, float]) -> NodeRoom:
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    conditions: dict[str, Any] = {item["type"]: item["status"] for item in status.get("conditions") or ()}
    return NodeRoom(
        name=meta["name"],
        labels=meta.get("labels") or {},
        ready=conditions.get("Ready") == "True",
        schedulable=not spec.get("unschedulable", False),
        allocatable={name: float(parse(str(value))) for name, value in (status.get("allocatable") or {}).items()},
        requested=asked,
    )

"""From nodes and pods of the cluster to the room on each node; pure."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from llama_operator.api.quantity import parse
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


def pod_requests(pod: Manifest) -> dict[str, float]:
    """What the scheduler counts: containers and sidecars, or a step of the start that needs more, and the overhead."""
    spec = pod.get("spec", {})
    total = _sum(spec.get("containers") or ())
    peak: dict[str, float] = {}
    sidecars: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        step = _add(sidecars, _sum([container]))
        peak = {name: max(peak.get(name, 0), step.get(name, 0)) for name in peak | step}
        if container.get("restartPolicy") == "Always":
            sidecars = step
    total = _add(total, sidecars)
    total = {name: max(total.get(name, 0), peak.get(name, 0)) for name in total | peak}
    for name, amount in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + float(parse(amount))
    return total


def _add(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def _sum(containers: Iterable[Manifest]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for container in containers:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] += float(parse(str(amount)))
    return dict(total)


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

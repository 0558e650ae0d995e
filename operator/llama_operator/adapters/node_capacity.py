"""From nodes and pods of the cluster to the room on each node, and to the pods that wait for some; pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from llama_operator.api.crdgen.quantity import parse
from llama_operator.observe.pods import is_gated, pod_requests
from llama_operator.ports import Capacity, Manifest, NodeCapacity, PodRequest
from llama_serving.config import names

HOSTNAME = "kubernetes.io/hostname"


def capacity_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> Capacity:
    """One room per node; a pod counts on its node until it has ended."""
    asks = [pod_request(pod) for pod in pods]
    users: dict[str, list[PodRequest]] = defaultdict(list)
    for ask in asks:
        users[ask.node].append(ask)
    rooms = tuple(_room(node, tuple(users[node["metadata"]["name"]])) for node in nodes)
    return Capacity(rooms, tuple(users.get("", ())))


def pod_request(body: Manifest) -> PodRequest:
    """What a pod asks of a node."""
    meta, spec = body.get("metadata") or {}, body.get("spec") or {}
    labels = meta.get("labels") or {}
    ours = (labels.get(names.LABEL_MANAGED_BY), labels.get(names.LABEL_COMPONENT)) == (
        names.MANAGED_BY,
        names.COMPONENT_STAGE,
    )
    return PodRequest(
        namespace=meta.get("namespace", ""),
        name=meta.get("name", ""),
        uid=meta.get("uid", ""),
        requests=pod_requests(body),
        priority=spec.get("priority") or 0,
        node=spec.get("nodeName") or "",
        gated=is_gated(body) if ours else bool(spec.get("schedulingGates")),
        refused=_refused(body.get("status") or {}),
        ours=ours,
        preempts=spec.get("preemptionPolicy") != "Never",
        apart=_apart(spec),
        node_selector=spec.get("nodeSelector") or {},
        tolerations=tuple(spec.get("tolerations") or ()),
    )


def _refused(status: Mapping[str, Any]) -> bool:
    said = {item["type"]: item for item in status.get("conditions") or ()}.get("PodScheduled", {})
    return bool(said.get("status") == "False" and said.get("reason") != "SchedulingGated")


def _apart(spec: Mapping[str, Any]) -> bool:
    rules = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return any(rule.get("topologyKey") == HOSTNAME for rule in rules or ())


def _room(node: Manifest, users: tuple[PodRequest, ...]) -> NodeCapacity:
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    conditions: dict[str, Any] = {item["type"]: item["status"] for item in status.get("conditions") or ()}
    asked: dict[str, float] = defaultdict(float)
    for user in users:
        for name, amount in user.requests.items():
            asked[name] += amount
    return NodeCapacity(
        name=meta["name"],
        labels=meta.get("labels") or {},
        ready=conditions.get("Ready") == "True",
        schedulable=not spec.get("unschedulable", False),
        allocatable={name: float(parse(str(value))) for name, value in (status.get("allocatable") or {}).items()},
        requested=dict(asked),
        taints=tuple(spec.get("taints") or ()),
        users=users,
    )

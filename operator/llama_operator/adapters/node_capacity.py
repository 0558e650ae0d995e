"""From nodes and pods of the cluster to the capacity of each node, and to the pods that wait for a node; pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llama_operator.api.crdgen.quantity import parse
from llama_operator.observe.node_health import gpu_fault
from llama_operator.observe.pods import is_gated, kept_from, pod_requests
from llama_operator.ports import Capacity, Manifest, NodeCapacity, PodRequest
from llama_serving.config import names

HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class NodeView:
    """What the placement asks of a node, without its pods."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    schedulable: bool
    allocatable: Mapping[str, float]
    taints: tuple[Mapping[str, str], ...]
    device_fault: str = ""


def capacity_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> Capacity:
    """Count every pod on its node until it has ended."""
    by_node: dict[str, list[PodRequest]] = defaultdict(list)
    for pod in map(pod_request, pods):
        by_node[pod.node].append(pod)
    found = tuple(with_pods(node, tuple(by_node[node.name])) for node in map(node_view, nodes))
    return Capacity(found, tuple(by_node.get("", ())))


def pod_request(body: Manifest) -> PodRequest:
    """Read what a pod asks of a node."""
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
        priority_class=spec.get("priorityClassName") or "",
        node=spec.get("nodeName") or "",
        gated=is_gated(body) if ours else bool(spec.get("schedulingGates")),
        refused=_refused(body.get("status") or {}),
        ours=ours,
        preempts=spec.get("preemptionPolicy") != "Never",
        one_per_node=_one_per_node(spec),
        node_selector=spec.get("nodeSelector") or {},
        node_terms=_node_terms(spec),
        tolerations=tuple(spec.get("tolerations") or ()),
        kept_from=kept_from(body),
    )


def _refused(status: Mapping[str, Any]) -> bool:
    said = {item["type"]: item for item in status.get("conditions") or ()}.get("PodScheduled", {})
    return bool(said.get("status") == "False" and said.get("reason") != "SchedulingGated")


def _node_terms(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    nodes = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return tuple(required.get("nodeSelectorTerms") or ())


def _one_per_node(spec: Mapping[str, Any]) -> bool:
    rules = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return any(rule.get("topologyKey") == HOSTNAME for rule in rules or ())


def node_view(body: Manifest) -> NodeView:
    """Read what the placement asks of a node."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    conditions: dict[str, Any] = {item["type"]: item["status"] for item in status.get("conditions") or ()}
    return NodeView(
        name=meta["name"],
        labels=meta.get("labels") or {},
        ready=conditions.get("Ready") == "True",
        schedulable=not spec.get("unschedulable", False),
        allocatable={name: float(parse(str(value))) for name, value in (status.get("allocatable") or {}).items()},
        taints=tuple(spec.get("taints") or ()),
        device_fault=gpu_fault(body),
    )


def with_pods(node: NodeView, pods: tuple[PodRequest, ...]) -> NodeCapacity:
    """Add up what the pods on a node ask for."""
    requested: dict[str, float] = defaultdict(float)
    for pod in pods:
        for name, amount in pod.requests.items():
            requested[name] += amount
    return NodeCapacity(**vars(node), requested=dict(requested), pods=pods)

"""What the stage pods of a group ask of the nodes, before they are made.

``manifests/stage.py`` renders the same pods; a test compares the two.

The spec names a PriorityClass, not its number, and the operator does not read PriorityClasses. The number is taken
from a pod of the cluster that has the class. Where no pod has it, the group is counted as one that preempts nobody. The
group also preempts nobody whom the pods of its own deployment would not: those must go on serving beside it.
"""

from collections.abc import Collection
from typing import Any

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.api.v1alpha1.placement import PlacementSpec
from llama_operator.plan.placement.node_affinity import required_terms
from llama_operator.plan.settings import STAGER_REQUESTS
from llama_operator.ports import Capacity, PodRequest

LOST_NODE_SECONDS = 30  # until a pod on a node that went silent is evicted; the API server's default would be 300


def group_request(
    spec: LlamaDeploymentSpec, capacity: Capacity, *, own_uids: Collection[str]
) -> tuple[PodRequest, ...]:
    """List the pods of one more group. ``own_uids``: those of the stage pods that the deployment has now."""
    known = [pod for node in capacity.nodes for pod in node.pods] + list(capacity.waiting)
    of_class = next((pod for pod in known if pod.priority_class == spec.placement.priority_class_name), None)
    own = [pod.priority for pod in known if pod.uid in own_uids]
    pod = PodRequest(
        namespace="",
        name="",
        uid="",
        requests=stage_requests(spec),
        priority=min([of_class.priority, *own]) if of_class else 0,
        gated=True,
        ours=True,
        preempts=of_class is not None and of_class.preempts,
        one_per_node=spec.placement.spread_stages,
        node_selector=spec.placement.node_selector,
        node_terms=tuple(required_terms(spec.placement)),
        tolerations=tuple(stage_tolerations(spec.placement)),
    )
    return (pod,) * spec.sharding.pipeline


def stage_requests(spec: LlamaDeploymentSpec) -> dict[str, float]:
    """Sum up what a stage pod requests, its stager included: resource -> amount."""
    size = spec.resources.size
    stage = {"cpu": size.cpu, "memory": size.memory}
    requests = {kind: float(parse(stage[kind]) + parse(amount)) for kind, amount in STAGER_REQUESTS.items()}
    return requests | {name: float(parse(amount)) for name, amount in spec.device.counted.items()}


def stage_tolerations(placement: PlacementSpec) -> list[dict[str, Any]]:
    """List the tolerations of a stage pod, as in a pod's spec."""
    own = [item.to_api() for item in placement.tolerations]
    lost = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    ]
    return own + lost

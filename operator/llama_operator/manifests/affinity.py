"""Where the scheduler may put stage pods and where it should, as affinity of a pod.

Rules about nodes are the user's. Rules about pods select pods of the same deployment only, in its own namespace, so
none keeps the pods of others away or follows them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_operator.api import NodeTerm
from llama_operator.manifests.common import Context, child_labels, selector
from llama_operator.plan.placement.node_affinity import required_terms
from llama_serving.config import names

HOSTNAME: Final = "kubernetes.io/hostname"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_STRONGEST: Final = 100


def stage_affinity(context: Context, ordinal: int, pod_hash: str) -> dict[str, Any]:
    """Return the affinity of a stage pod; empty where nothing is asked for."""
    placement = context.spec.placement
    group = child_labels(context, names.COMPONENT_STAGE, group=str(ordinal), pod_hash=pod_hash)
    found: dict[str, Any] = {}
    if nodes := node_affinity(context):
        found["nodeAffinity"] = nodes
    if placement.stages_together:
        found["podAffinity"] = {_PREFERRED: [_preferred({"matchLabels": group}, placement.stages_together)]}
    apart: dict[str, Any] = {}
    if placement.spread_stages:
        apart[_REQUIRED] = [_near({"matchLabels": group}, HOSTNAME)]
    if placement.groups_apart:
        apart[_PREFERRED] = [_preferred(_other_groups(context, ordinal), placement.groups_apart)]
    return {**found, "podAntiAffinity": apart} if apart else found


def node_affinity(context: Context) -> dict[str, Any]:
    """Return what the spec asks of nodes, beyond labels and taints; empty where it asks for nothing."""
    asked, found = context.spec.placement.node_affinity, dict[str, Any]()
    if asked.required:
        found[_REQUIRED] = {"nodeSelectorTerms": required_terms(context.spec.placement)}
    if asked.preferred:
        found[_PREFERRED] = [{"weight": one.weight, "preference": _term(one)} for one in asked.preferred]
    return found


def kept_from_nodes(nodes: Sequence[str], *, required: bool, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node affinity that keeps a pod from nodes, added to another one (``beside``).

    Terms are alternatives, so each of them gets the rule; and a rule about a field has one value.
    """
    rule = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    if not required:
        preferred = {"weight": _STRONGEST, "preference": {"matchFields": rule}}
        return {**beside, _PREFERRED: [*beside.get(_PREFERRED, ()), preferred]}
    terms = (beside.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    ruled = [{**term, "matchFields": [*term.get("matchFields", ()), *rule]} for term in terms]
    return {**beside, _REQUIRED: {"nodeSelectorTerms": ruled}}


def _term(term: NodeTerm) -> dict[str, Any]:
    return {"matchExpressions": [one.to_api() for one in term.match_expressions]}


def _other_groups(context: Context, ordinal: int) -> dict[str, Any]:
    others = {"key": names.LABEL_GROUP, "operator": "NotIn", "values": [str(ordinal)]}
    return {"matchLabels": selector(context, names.COMPONENT_STAGE), "matchExpressions": [others]}


def _near(pods: dict[str, Any], topology: str) -> dict[str, Any]:
    return {"labelSelector": pods, "topologyKey": topology}


def _preferred(pods: dict[str, Any], topology: str) -> dict[str, Any]:
    return {"weight": _STRONGEST, "podAffinityTerm": _near(pods, topology)}

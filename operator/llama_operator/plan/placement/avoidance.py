"""Which nodes the pods of a group are kept from: those that were struck, and those whose GPUs are said to be bad.

The pods are kept from them by a node affinity that they are created with. Strikes never keep a group from running:
where it does not fit on the other nodes, the least struck of them are used all the same. A node whose GPUs somebody
else says to be bad, by a condition of the node (observe/node_health.py), is not used. Where the operator may not see
the nodes the affinity is a preference.

A group that was kept from nodes and waits without a node is created anew where the nodes that it is to be kept from
have become other ones.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from llama_operator.api import CPU, LlamaDeploymentSpec
from llama_operator.observe.pods import PodView
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.placement.fit import FreeCapacity
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.placement.leaving import capacity_without
from llama_operator.plan.placement.strikes import avoided, device_faults, is_spent, may_be_left_again, weight
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import nodes as sentences
from llama_serving.config.reasons import Reason

#: How long a group without a node is left as it is, at least.
STAYS = timedelta(seconds=30)


@dataclass(frozen=True)
class Avoidance:
    """The nodes that a group's pods are kept from."""

    nodes: tuple[str, ...] = ()
    required: bool = True  # False: the nodes are not known, so it is only preferred
    used: tuple[str, ...] = ()  # struck nodes that are used all the same, for want of others
    fits: bool = True  # it would find room now; not asked where it is kept from no node


def avoidance(pods: Collection[PodView], spec: LlamaDeploymentSpec, state: PlanState) -> Avoidance:
    """Choose the nodes that the group of these pods is to be kept from; its own pods count as gone."""
    if spec.device.resource == CPU:
        return Avoidance()
    struck, capacity = avoided(state.snapshot.status.node_strikes, state.now), state.snapshot.capacity
    if capacity is None:
        return Avoidance(tuple(sorted(struck)), required=False)
    bad = {node.name for node in capacity.nodes if node.device_fault}
    struck = tuple(node for node in struck if node not in bad and any(node == one.name for one in capacity.nodes))
    if not struck and not bad:
        return Avoidance()
    own = {pod.uid for pod in pods}
    request = group_request(spec, capacity, own_uids={pod.uid for pod in state.snapshot.stages})
    free = capacity_without(capacity, own)
    for used in range(len(struck) + 1):
        kept_from = tuple(sorted({*bad, *struck[used:]}))
        if FreeCapacity(free).place(tuple(replace(pod, kept_from=frozenset(kept_from)) for pod in request)):
            return Avoidance(kept_from, used=struck[:used])
    return Avoidance(tuple(sorted({*bad, *struck})), fits=False)


def leaves_nodes(
    group: Group, spec: LlamaDeploymentSpec, state: PlanState
) -> tuple[tuple[str, ...], Explanation] | None:
    """Return the nodes that a group leaves now, and why; None where it stays.

    It leaves when one of its stages says that its devices fail, their node has the strikes for it, and there is room
    for the group on nodes with fewer, as far as the nodes are known.
    """
    if group.serving or not group.pods or any(not pod.alive for pod in group.pods):
        return None
    accused = {fault.node for fault in device_faults(group)}
    records = {one.node: one for one in state.snapshot.status.node_strikes if one.node in accused}
    going = tuple(sorted(node for node, one in records.items() if is_spent(one, state.now)))
    if not going:
        return None
    found = avoidance(group.pods, spec, state)
    clean = found.required and not found.used
    if not found.fits or not (clean or all(may_be_left_again(records[node], state.now) for node in going)):
        return None
    if not _is_better(found.used, going, state):
        return None
    last = records[going[0]]
    text = sentences.group_leaves(group.id.ordinal, nodes=going, record=last, now=state.now)
    return going, Explanation(Reason.NODE_LEFT, text, group.id.ordinal)


def _is_better(used: Collection[str], going: Collection[str], state: PlanState) -> bool:
    """Return whether the struck nodes that would be used have half the strikes at most of those that are left."""
    weights = {one.node: weight(one, state.now) for one in state.snapshot.status.node_strikes}
    least = min(weights[node] for node in going)
    return all(2 * weights[node] <= least for node in used)


def is_kept_from_others(pods: tuple[PodView, ...], spec: LlamaDeploymentSpec, state: PlanState) -> str:
    """Say which nodes a group that waits without a node is to be kept from in place of the present ones; else empty."""
    if not pods or any(pod.node or not pod.alive for pod in pods):
        return ""
    if state.now - max(pod.created for pod in pods) < STAYS:
        return ""
    carried = frozenset.union(*(pod.kept_from for pod in pods))
    struck = avoided(state.snapshot.status.node_strikes, state.now)
    bad = [node for node in (state.snapshot.capacity.nodes if state.snapshot.capacity else ()) if node.device_fault]
    if not carried and not struck and not bad:
        return ""
    found = avoidance(pods, spec, state)
    if not found.required or carried == set(found.nodes) or (not found.fits and set(found.nodes) <= carried):
        return ""
    return sentences.kept_from_others(before=sorted(carried), now=found.nodes)

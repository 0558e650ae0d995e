"""In which turn the groups of a rollout leave, where new groups need the room of old ones; and what to do without one.

Asked before the first step (strategy.py) and in every pass of the rollout (policy.py): pods of others may come in
between. Not asked where the nodes are not known, or where pods are placed one by one because pending pods bring nodes.
"""

from collections.abc import Mapping
from dataclasses import replace

from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, leaving_groups
from llama_operator.plan.groups.update_policy import UpdatePolicy
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.rollout.order import OldGroup, ShapeChange, StepOrder, find_order
from llama_operator.plan.sentences import rollout as sentences
from llama_operator.ports import PodRequest

Ordinals = frozenset[int]


def why_no_turn(strategy: str, template: GroupTemplate, state: PlanState) -> str:
    """Say why groups of the template cannot take the places of all others in turn; empty where they can.

    They cannot either where fewer of them would find room than serve now.
    """
    rollout = state.spec.rollout
    ordinals = tuple(ordinal for ordinal in state.ordinals if ordinal >= rollout.partition)
    canary, every = frozenset(ordinals[: rollout.canary.groups]), frozenset(ordinals)
    order = _order(strategy, template, state, changing=every, gone=canary)
    if order is None:
        return ""
    serving = len({group.id.ordinal for group in state.groups if group.may_serve(state.now)} & every)
    placed = order.placed + len(_placed(template, state, every))
    if placed < serving:
        return sentences.fewer_find_room(placed=placed, groups=len(every), serving=serving)
    first = _order(strategy, template, state, changing=canary) if canary else None
    return (_why_not_allowed(strategy, first, state) if first else "") or _why_not_allowed(strategy, order, state)


def why_stuck(template: GroupTemplate, state: PlanState, *, changing: Ordinals) -> str:
    """Say why these groups cannot be drained in turn from where the rollout is; empty where they can."""
    order = _order("drain", template, state, changing=changing)
    return _why_not_allowed("drain", order, state) if order else ""


def _why_not_allowed(strategy: str, order: StepOrder, state: PlanState) -> str:
    rollout = state.spec.rollout
    if order.allowed:
        return ""
    if strategy == "surge":
        return sentences.surge_ends_early(surge=rollout.max_surge)
    return sentences.no_order_of_steps(
        needed=order.unavailable, allowed=rollout.max_unavailable, replicas=state.spec.replicas
    )


def with_turns(policy: UpdatePolicy, strategy: str, state: PlanState) -> UpdatePolicy:
    """Return the policy with the order in which groups leave.

    Where there is none any more, a drain touches no further group that serves: it would not be replaced.
    """
    order = _order(strategy, policy.desired, state, changing=policy.changing)
    if order is None:
        return policy
    draining = strategy == "drain" and not policy.reverse
    return replace(policy, removals=order.removals, may_disrupt=policy.may_disrupt and (order.allowed or not draining))


def _order(
    strategy: str, template: GroupTemplate, state: PlanState, *, changing: Ordinals, gone: Ordinals = frozenset()
) -> StepOrder | None:
    """Find the order; None where no group has to leave, or nobody can know."""
    capacity, rollout, wanted = state.snapshot.capacity, state.spec.rollout, frozenset(state.ordinals)
    leaving = leaving_groups(template, state, changing=changing)
    if capacity is None or not leaving or state.spec.placement.scheduling == "perPod":
        return None
    there = {pod.uid: pod for node in capacity.nodes for pod in node.pods}
    if any(pod.node and pod.uid not in there for group in leaving for pod in group.pods):
        return None  # what it gives back is not known
    placed = len(_placed(template, state, changing))
    kept = {group.id.ordinal for group in state.groups} & wanted - changing
    serve = {group.id for group in leaving if group.may_serve(state.now) and group.id.ordinal in wanted - gone}
    own = frozenset(pod.uid for pod in state.snapshot.stages)
    surging = strategy == "surge"  # takes nothing from the groups that serve; a drain makes none beside them
    change = ShapeChange(
        old=tuple(OldGroup(one.id.ordinal, _on_nodes(one, there), one.id in serve) for one in leaving),
        request=group_request(template.spec, capacity, own_uids=own),
        wanted=len(changing) - placed,
        replicas=state.spec.replicas,
        max_unavailable=0 if surging else rollout.max_unavailable,
        max_surge=rollout.max_surge if surging else 0,
        staying=placed + len(kept),
    )
    return find_order(capacity, change)


def _placed(template: GroupTemplate, state: PlanState, changing: Ordinals) -> set[int]:
    """Return the ordinals whose new group has its nodes, or is given them."""
    new = (group for group in state.groups if group.id.pod_hash == template.pod_hash and group.id.ordinal in changing)
    return {group.id.ordinal for group in new if not any(pod.gated for pod in group.pods)}


def _on_nodes(group: Group, there: Mapping[str, PodRequest]) -> tuple[PodRequest, ...]:
    return tuple(there[pod.uid] for pod in group.pods if pod.uid in there)

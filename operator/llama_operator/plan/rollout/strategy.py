"""Which way a change takes, why, and what it will take: said before the first step.

``auto``: in place when only the weights change and a group may be out of rotation; else surge when one more group would
be admitted beside those that are there (plan/placement/admit.py); else drain when the groups that stay are enough for
the present load; else nothing, and what is missing. Enough: ``in flight + waiting <= (serving groups - 1) *
maxConcurrentRequests``. With nobody to ask, or without the right to list nodes, surge is left out and the load counts
as it was last seen.
"""

from dataclasses import dataclass

from llama_operator.api.v1alpha1.rollout import RolloutSpec, Strategy
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.placement.group_request import group_request
from llama_serving.config.reasons import Reason
from llama_serving.config.wording import plural


@dataclass(frozen=True)
class Choice:
    """The strategy of a rollout, and why."""

    strategy: str  # empty where none is possible; then ``reason`` says what kind of obstacle that is
    why: str
    reason: Reason = Reason.ROLLING_OUT


def choose(state: PlanState, template_hash_before: str, template: GroupTemplate) -> Choice:
    """Choose the strategy of a rollout to the template from groups whose template has another hash, or the same one."""
    rollout, only_weights = state.spec.rollout, template_hash_before == template.template_hash
    asked: Strategy = rollout.strategy
    if asked == "inPlace":
        return _in_place(rollout, only_weights)
    if asked == "surge":
        return _surge_asked(rollout)
    if asked == "drain":
        return _drain_asked(rollout)
    if not state.groups and not only_weights and rollout.max_unavailable:
        return Choice("drain", "there is no group that would have to be drained")
    if only_weights and rollout.max_unavailable:
        return Choice("inPlace", "only the weights change, so they are loaded in the running pods")
    return _auto(state, template, rollout)


def pod_hash_for(choice: Choice, stable: StableTemplate, template: GroupTemplate) -> str:
    """Return the hash of the pods after the rollout: of those that are there when they stay, else one of their own."""
    if stable.template_hash != template.template_hash:
        return template.template_hash
    in_place = choice.strategy in ("inPlace", "")
    return stable.pod_hash if in_place else short_hash([template.template_hash, template.digest])


def _in_place(rollout: RolloutSpec, only_weights: bool) -> Choice:
    if not only_weights:
        text = (
            "spec.rollout.strategy is inPlace, but more than the weights changes (image, layout, resources or the"
            " model's shape), which needs new pods; use auto, surge or drain"
        )
        return Choice("", text, Reason.ROLLOUT_HELD)
    if not rollout.max_unavailable:
        text = (
            "spec.rollout.strategy is inPlace and spec.rollout.maxUnavailable is 0, but a group is out of rotation"
            " while it loads its weights; use maxUnavailable 1, or strategy surge"
        )
        return Choice("", text, Reason.ROLLOUT_HELD)
    return Choice("inPlace", "spec.rollout.strategy is inPlace")


def _surge_asked(rollout: RolloutSpec) -> Choice:
    if rollout.max_surge:
        return Choice("surge", "spec.rollout.strategy is surge")
    text = "spec.rollout.strategy is surge, but spec.rollout.maxSurge is 0; use at least 1, or strategy drain"
    return Choice("", text, Reason.ROLLOUT_HELD)


def _drain_asked(rollout: RolloutSpec) -> Choice:
    if rollout.max_unavailable:
        return Choice("drain", "spec.rollout.strategy is drain")
    text = "spec.rollout.strategy is drain, but spec.rollout.maxUnavailable is 0; use at least 1, or strategy surge"
    return Choice("", text, Reason.ROLLOUT_HELD)


def _auto(state: PlanState, template: GroupTemplate, rollout: RolloutSpec) -> Choice:
    missing = "spec.rollout.maxSurge is 0"
    if rollout.max_surge:
        missing = missing_for_surge(state, template)
        if not missing:
            return Choice("surge", "the pods change, and the free devices hold one more group")
    if not rollout.max_unavailable:
        return Choice("", f"{missing}, and spec.rollout.maxUnavailable is 0", Reason.WAITING_FOR_ROOM)
    load, staying = present_load(state), max(state.available - 1, 0)
    slots = staying * state.spec.max_concurrent_requests
    room = f"can run {plural(slots, 'request')} at a time, and {plural(load, 'request is', 'requests are')} there now"
    if load <= slots:
        return Choice("drain", f"{missing}; the {plural(staying, 'group that stays', 'groups that stay')} {room}")
    text = (
        f"{missing}, and the {plural(staying, 'group')} that would stay {room};"
        " free the devices of one group, or accept that requests wait with spec.rollout.strategy drain"
    )
    return Choice("", text, Reason.WAITING_FOR_ROOM)


def present_load(state: PlanState) -> int:
    """Count the requests that the gateways have in flight or waiting."""
    return sum(load.in_flight + load.waiting for load in state.snapshot.loads.values() if load)


def missing_for_surge(state: PlanState, template: GroupTemplate) -> str:
    """Say why one more group would not be admitted beside those that are there; empty when it would be."""
    capacity = state.snapshot.capacity
    if capacity is None:
        return "the capacity of the nodes is not known"
    own = frozenset(pod.uid for pod in state.snapshot.stages)
    group = WaitingGroup("one more group", group_request(template.spec, capacity, own_uids=own))
    return "; ".join(one.detail for one in admit(capacity, [group]).explanations)

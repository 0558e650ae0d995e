"""Groups that are not wanted are removed in two steps: out of rotation, and deleted when their requests have ended.

In between a group that is wanted again goes back into rotation: its engine is there.
"""

from dataclasses import replace

from llama_operator.plan.actions import Actions, add_up
from llama_operator.plan.groups.drain import drain_expired, overdue, requests_left
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.pods import drain
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.weights_step import keep_weights, step_actions
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.reasons import Reason


def drain_surplus(state: PlanState) -> Actions:
    """Drain, then delete, every group that is not wanted."""
    return add_up(_drain(group, state) for group in state.groups if group.id.ordinal not in state.ordinals)


def _drain(group: Group, state: PlanState) -> Actions:
    ordinal, by_load = group.id.ordinal, state.spec.autoscaling is not None
    why = sentences.group_surplus(ordinal, wanted=state.spec.replicas, by_load=by_load)
    left = _requests_left(group, state)
    explanation = Explanation(Reason.SCALING_DOWN, sentences.group_scales_down(why, held=left), ordinal)
    rest = Actions(keep=(group.id,), explanations=(explanation,))
    if not left:
        return drain(group.pods, why, state) + rest
    move = overdue(group, state.spec, state.snapshot, now=state.now)
    step = replace(keep_weights(group, state), gate=False, why=why, move=move, explanation=explanation)
    return step_actions(step, state) + rest


def _requests_left(group: Group, state: PlanState) -> str:
    """Say who may still have requests of the group; empty when nobody has, or they had their time."""
    leader = group.leader
    if leader is None or group.incomplete or leader.in_rotation is None:
        return ""
    if drain_expired(group, state.spec, state.snapshot, now=state.now):
        return ""
    if leader.in_rotation:
        return sentences.leader_leaves_rotation()
    return requests_left(group, state.snapshot, state.now)

"""How far a rollout is: which groups may change now, and which have arrived."""

from llama_operator.api.v1alpha1.status import RolloutStatus
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.turns import why_stuck
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.reasons import Reason


def updated_ordinals(state: PlanState, template: GroupTemplate, ordinals: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ordinals whose only group is as the template says, and available."""
    return tuple(ordinal for ordinal in ordinals if _is_updated(ordinal, template, state))


def changing_ordinals(rollout: RolloutStatus, state: PlanState) -> tuple[int, ...]:
    """Return the ordinals that may change now, ascending."""
    spec = state.spec.rollout
    may = tuple(ordinal for ordinal in state.ordinals if ordinal >= spec.partition)
    if spec.canary.groups and rollout.canary != "passed":
        return may[: spec.canary.groups]
    return may


def explain_progress(rollout: RolloutStatus, desired: GroupTemplate, state: PlanState) -> Explanation:
    """Say where a rollout that is on its way stands; the sentence changes with its steps only."""
    spec, weights = state.spec.rollout, desired.serve.weights.id
    if spec.paused:
        text = sentences.rollout_paused(weights, step=rollout.step)
        return Explanation(Reason.ROLLOUT_PAUSED, text)
    if not state.ordinals:
        text = sentences.rollout_awaits_group(rollout.to)
        return Explanation(Reason.ROLLING_OUT, text)
    if rollout.canary == "watching":
        text = sentences.canary_watched(weights, groups=spec.canary.groups, seconds=spec.canary.seconds)
        return Explanation(Reason.CANARY, text)
    may = changing_ordinals(rollout, state)
    if len(updated_ordinals(state, desired, may)) == len(may) and len(may) < state.spec.replicas and spec.partition:
        text = sentences.partition_keeps(weights, partition=spec.partition, step=rollout.step)
        return Explanation(Reason.ROLLOUT_PAUSED, text)
    drains = rollout.preview.strategy == "drain"
    if drains and (stuck := why_stuck(desired, state, changing=frozenset(may))):
        text = sentences.rollout_stuck(step=rollout.step, to=rollout.to, why=stuck)
        return Explanation(Reason.WAITING_FOR_ROOM, text)
    text = sentences.rollout_progress(step=rollout.step, to=rollout.to, before=rollout.before)
    return Explanation(Reason.ROLLING_OUT, text)


def _is_updated(ordinal: int, template: GroupTemplate, state: PlanState) -> bool:
    groups = state.at(ordinal)
    if len(groups) != 1 or groups[0].id.pod_hash != template.pod_hash:
        return False
    return groups[0].has(template.serve) and groups[0].available(state.now, state.spec.rollout.min_ready_seconds)

"""How far a rollout is: which groups may change now, and which have arrived."""

from llama_operator.api.v1alpha1.status import RolloutStatus
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason
from llama_operator.text import count


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
        text = f"spec.rollout.paused holds the rollout of {weights}: {rollout.step} groups have it"
        return Explanation(Reason.ROLLOUT_PAUSED, text)
    if not state.ordinals:
        text = f"no group is wanted now: the next one is made as {rollout.to}, and the rollout ends when it serves"
        return Explanation(Reason.ROLLING_OUT, text)
    if rollout.canary == "watching":
        groups, verb = count(spec.canary.groups, "group"), "serves" if spec.canary.groups == 1 else "serve"
        return Explanation(Reason.CANARY, f"canary: {groups} {verb} {weights}, watched for {spec.canary.seconds} s")
    may = changing_ordinals(rollout, state)
    if len(updated_ordinals(state, desired, may)) == len(may) and len(may) < state.spec.replicas and spec.partition:
        text = f"spec.rollout.partition {spec.partition} keeps the groups below it: {rollout.step} have {weights}"
        return Explanation(Reason.ROLLOUT_PAUSED, text)
    return Explanation(Reason.ROLLING_OUT, f"{rollout.step} groups have {rollout.to}, before it was {rollout.before}")


def _is_updated(ordinal: int, template: GroupTemplate, state: PlanState) -> bool:
    groups = state.at(ordinal)
    if len(groups) != 1 or groups[0].id.pod_hash != template.pod_hash:
        return False
    return groups[0].has(template.serve) and groups[0].available(state.now, state.spec.rollout.min_ready_seconds)

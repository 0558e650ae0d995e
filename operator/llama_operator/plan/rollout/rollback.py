"""By what a rollout is given up: the first thing that says that a group will not come to serve the new target."""

from datetime import datetime, timedelta

from llama_operator.observe.deployment import PodView
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.weights_step import staging_hold, swap_hold
from llama_operator.plan.reasons import SETBACKS, Explanation, Reason
from llama_serving.config.state import CellReason, Phase

#: Restarts of a stage after which an engine that fails is not waited for any longer.
RESTARTS = 3
#: Seconds for image, staging and joining on top of spec.startTimeoutSeconds, after which nobody was heard.
BEFORE_START = 1800


def rollback_cause(scene: PlanState, target: GroupTemplate, since: datetime) -> Explanation | None:
    """Why the target is given up; None while nothing speaks against it. ``since``: when its rollout began."""
    mine = (unit for unit in scene.units if unit.group.pod_hash == target.pod_hash)
    found = (hold for unit in mine if (hold := _of_unit(unit, target, scene, since)))
    return next(found, None)


def _of_unit(unit: Group, target: GroupTemplate, scene: PlanState, since: datetime) -> Explanation | None:
    staging = unit.staging(target.digest, target.spec.sharding.pipeline)
    if staging.refused:
        return staging_hold(unit, target, staging)
    if unit.heading != target.digest:
        return None
    if unit.swap and unit.swap.outcome == "failed":
        return swap_hold(unit, target.serve.weights.id)
    if unit.has(target.serve):
        verdict = scene.judge(unit, target.serve)
        return Explanation(verdict.reason, verdict.message, unit.group.ordinal) if verdict.passed is False else None
    return _start_failed(unit, target, scene, since) if not unit.open else None


def _start_failed(unit: Group, target: GroupTemplate, scene: PlanState, since: datetime) -> Explanation | None:
    """The engine is not there, and will not come. Restarts from before the rollout are not held against a pod."""
    ordinal = unit.group.ordinal
    for pod in unit.pods:
        state = unit.states.get(pod.stage)
        if state and state.phase is Phase.FAILED:
            text = f"group {ordinal} stage {pod.stage} does not start: {state.message.rstrip('.')}"
            return Explanation(_word(state.reason), text, ordinal)
        if pod.created >= since and pod.restarts >= RESTARTS and _fails(pod, state.reason if state else None):
            said = state.message if state else (pod.waiting.message if pod.waiting else "it ends")
            text = f"group {ordinal} stage {pod.stage} does not start, {pod.restarts} restarts: {said.rstrip('.')}"
            return Explanation(Reason.ENGINE_FAILED, text, ordinal)
    return _late(unit, target, scene, since)


def _late(unit: Group, target: GroupTemplate, scene: PlanState, since: datetime) -> Explanation | None:
    placed = [pod for pod in unit.pods if not pod.unscheduled and not pod.gated]
    limit = timedelta(seconds=target.spec.start_timeout_seconds + BEFORE_START)
    if len(placed) < len(unit.pods) or not placed:
        return None
    if scene.now - max(since, *(pod.bound or pod.created for pod in placed)) < limit:
        return None
    minutes = int(limit.total_seconds()) // 60
    text = f"group {unit.group.ordinal} did not start within {minutes} min (spec.startTimeoutSeconds and 30 min)"
    return Explanation(Reason.ENGINE_FAILED, text, unit.group.ordinal)


def _fails(pod: PodView, reason: CellReason | None) -> bool:
    looping = pod.waiting is not None and pod.waiting.reason == "CrashLoopBackOff"
    return looping or reason is CellReason.ENGINE_FAILED


def _word(reason: CellReason) -> Reason:
    known = {word.value: word for word in SETBACKS}
    return known.get(reason.value, Reason.ENGINE_FAILED)

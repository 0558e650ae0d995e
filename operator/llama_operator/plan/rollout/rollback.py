"""By what a rollout is given up: the first thing that says that a group will not come to serve the new target."""

from datetime import datetime, timedelta

from llama_operator.observe.deployment import PodView
from llama_operator.plan import sentences
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.weights_step import staging_hold, swap_hold
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reason_catalogue import SETBACKS, reason_from
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import Phase

#: Restarts of a stage after which an engine that fails is not waited for any longer.
RESTARTS = 3
#: Seconds for image, staging and joining on top of spec.startTimeoutSeconds, after which nobody was heard.
BEFORE_START = 1800


def rollback_cause(scene: PlanState, target: GroupTemplate, since: datetime) -> Explanation | None:
    """Why the target is given up; None while nothing speaks against it. ``since``: when its rollout began."""
    mine = (unit for unit in scene.units if unit.group.revision == target.revision)
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
            text = sentences.start_failed(ordinal, stage=pod.stage, restarts=0, said=state.message)
            return Explanation(_cause(state.reason), text, ordinal)
        if pod.created >= since and pod.restarts >= RESTARTS and _fails(pod, state.reason if state else None):
            said = state.message if state else (pod.waiting.message if pod.waiting else "it ends")
            text = sentences.start_failed(ordinal, stage=pod.stage, restarts=pod.restarts, said=said)
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
    text = sentences.start_timed_out(unit.group.ordinal, minutes=minutes)
    return Explanation(Reason.ENGINE_FAILED, text, unit.group.ordinal)


def _fails(pod: PodView, reason: CellReason | None) -> bool:
    looping = pod.waiting is not None and pod.waiting.reason == "CrashLoopBackOff"
    return looping or reason is CellReason.ENGINE_FAILED


def _cause(reason: CellReason) -> Reason:
    """The cell's reason where a rollout is given up by it, else that the engine failed."""
    found = reason_from(reason, otherwise=Reason.ENGINE_FAILED)
    return found if found in SETBACKS else Reason.ENGINE_FAILED

"""Events for ``kubectl describe``: what changed between two statuses."""

from typing import Final

from llama_operator.api import AutoscalingStatus, LlamaDeploymentStatus, ResolvedStatus
from llama_operator.plan.placement.strikes import AVOID_FROM
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.plan.sentences import nodes as node_sentences
from llama_operator.plan.sentences import rollout as rollout_sentences
from llama_operator.ports import KubeEvent
from llama_operator.status.states import FAILED, REBUILDING
from llama_serving.config.reason_catalogue import FAILURES
from llama_serving.config.reasons import EventReason, Reason, ReportReason

_NO_WARNING: Final = frozenset({ReportReason.RESOLVING, Reason.POD_STARTING, Reason.API_RETRY, ReportReason.ACCEPTED})


def deployment_events(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> tuple[KubeEvent, ...]:
    """Tell what changed: groups, the rollout, verdicts, the number of groups, the first thing to look at."""
    events = _group_events(before, after)
    events += _rollout_events(before, after)
    events += _verdict_events(before, after)
    events += _node_events(before, after)
    events += _scaling_events(before.autoscaling, after.autoscaling)
    if before.reason != after.reason:
        events.append(KubeEvent(warning=after.reason in FAILURES, reason=after.reason, message=after.message))
    return tuple(events)


def weights_events(before: ResolvedStatus, after: ResolvedStatus) -> tuple[KubeEvent, ...]:
    """Tell when the reason changed, or the message of a refusal."""
    refused = after.last_resolve is not None and after.last_resolve.refused and not after.ready
    same = before.reason == after.reason and (not refused or before.message == after.message)
    if same or not after.reason:
        return ()
    return (KubeEvent(warning=after.reason not in _NO_WARNING, reason=after.reason, message=after.message),)


def _group_events(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    states = {group.name: group.state for group in before.groups}
    return [
        KubeEvent(
            warning=group.state in (FAILED, REBUILDING),
            reason=group.reason or group.state,
            message=sentences.group_event(group.ordinal, state=group.state, why=group.message),
        )
        for group in after.groups
        if states.get(group.name) != group.state
    ]


def _rollout_events(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    """Tell when a rollout starts, with what it will take, and when its phase changes."""
    old, new = before.rollout, after.rollout
    if new is None or (old and (old.key, old.phase, old.started) == (new.key, new.phase, new.started)):
        return []
    if new.phase == "RollingOut":
        steps = "; ".join((new.preview.why, *new.preview.steps))
        text = rollout_sentences.begins_with_steps(to=new.to, before=new.before, steps=steps)
        return [KubeEvent(False, Reason.ROLLING_OUT, text)]
    failed = new.phase in ("RollingBack", "Held", "Failed")
    reason = Reason.ROLLING_BACK if new.phase == "RollingBack" else (new.reason or EventReason.ROLLOUT_DONE)
    return [KubeEvent(failed, reason, rollout_sentences.phase_reached(to=new.to, phase=new.phase, why=new.message))]


def _node_events(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    """Tell which nodes are avoided from now on."""
    strikes = {one.node: one.strikes for one in before.node_strikes}
    return [
        KubeEvent(True, EventReason.NODE_AVOIDED, node_sentences.node_avoided(one))
        for one in after.node_strikes
        if one.strikes >= AVOID_FROM > strikes.get(one.node, 0)
    ]


def _scaling_events(before: AutoscalingStatus | None, after: AutoscalingStatus | None) -> list[KubeEvent]:
    """Tell each change of the number of groups, with why, and each change of the rule that decides it."""
    if before is None or after is None:
        return []
    events = []
    if before.target != after.target:
        reason = EventReason.SCALED_UP if after.target > before.target else EventReason.SCALED_DOWN
        text = sentences.scaled(before=before.target, after=after.target, why=after.message)
        events.append(KubeEvent(False, reason, text))
    if after.promise and after.promise.rule and after.promise.rule != (before.promise.rule if before.promise else ""):
        events.append(KubeEvent(False, EventReason.RULE_CHANGED, after.promise.message))
    return events


def _verdict_events(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    """Tell what was measured of a group's weights, when it was measured anew."""
    known = {group.name: group.verify for group in before.groups}
    fresh = [group.verify for group in after.groups if group.verify and group.verify != known.get(group.name)]
    return [
        KubeEvent(not verdict.passed, EventReason.VERIFIED if verdict.passed else Reason.VERIFY_FAILED, verdict.message)
        for verdict in fresh
    ]

"""The decisions of autoscaling as they are in the object's status: what survives a restart, and the last changes."""

from datetime import datetime

from llama_operator.api import AutoscalingSpec, AutoscalingStatus, ScaleDecision
from llama_operator.plan.autoscaling.owed import Remembered
from llama_operator.plan.autoscaling.policy import Decision
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum
from llama_operator.plan.autoscaling.state import DurableState
from llama_operator.plan.sentences import deployment as sentences
from llama_serving.config.reasons import ScaleReason

KEPT_DECISIONS = 10


def first_status(
    replicas: int, there: int, *, auto: AutoscalingSpec, minimum: ScheduledMinimum, moment: datetime
) -> AutoscalingStatus:
    """Begin with the larger of ``spec.replicas`` and of the groups that are there, within the limits."""
    target = min(max(replicas, there, minimum.groups), auto.max_replicas)
    text = sentences.autoscaling_begins(groups=target, there=there, replicas=replicas)
    return AutoscalingStatus(target=target, reason=ScaleReason.BEGINS, message=text, since=moment)


def durable_state(status: AutoscalingStatus) -> DurableState:
    """Read back what survives a restart."""
    return DurableState(
        status.target,
        status.raised,
        status.lowered,
        status.starts,
        status.seconds_per_token,
        owed=Remembered(status.owed, status.owed_at),
        failed_starts=status.failed_starts,
        gave_up=status.gave_up,
    )


def status_after(status: AutoscalingStatus, decision: Decision, moment: datetime) -> AutoscalingStatus:
    """Update the status by a decision: what survives a restart changes with the target and the starts only,
    and when requests begin or end to be owed an answer.

    All is rounded as it is read back, so that a status that nothing changed equals the one that was written.
    """
    durable = decision.state.durable
    status = status.model_copy(
        update={
            "starts": tuple(round(one, 1) for one in durable.starts),
            "owed": durable.owed.requests,
            "owed_at": durable.owed.at.replace(microsecond=0) if durable.owed.at else None,
            "failed_starts": durable.failed_starts,
            "gave_up": durable.gave_up.replace(microsecond=0) if durable.gave_up else None,
        }
    )
    if decision.target == status.target:
        return status
    speed = durable.seconds_per_token
    return status.model_copy(
        update={
            "target": decision.target,
            "reason": decision.reason,
            "message": decision.message,
            "since": moment,
            "decisions": (_change(status.target, decision, moment), *status.decisions)[:KEPT_DECISIONS],
            "seconds_per_token": None if speed is None else round(speed, 6),
            "raised": durable.raised.replace(microsecond=0) if durable.raised else None,
            "lowered": durable.lowered.replace(microsecond=0) if durable.lowered else None,
        }
    )


def _change(before: int, decision: Decision, moment: datetime) -> ScaleDecision:
    return ScaleDecision.model_validate(
        {
            "at": moment,
            "from": before,
            "to": decision.target,
            "reason": decision.reason,
            "message": decision.message,
            "figures": {name: round(value, 3) for name, value in decision.detail.items()},
        }
    )

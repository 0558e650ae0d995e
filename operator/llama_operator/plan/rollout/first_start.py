"""The first roll-out of an object: no group has served yet, so there is nothing to go back to.

What gives up any other rollout fails this one: phase ``Failed``, with the first cause. The pods stay, for whoever looks
at them, and are tried again: by the kubelet, which pulls and starts at growing pauses, by the scheduler, and by the
operator (``retry_pause``). It has failed until a group serves, or the spec changes, or nothing stands against it any
more.
"""

from datetime import UTC, datetime
from typing import Final

from llama_operator.api.v1alpha1.status import RolloutStatus
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, template_identity
from llama_operator.plan.groups.template_hash import verification_hash
from llama_operator.plan.naming import GroupId
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.rollback import rollback_cause
from llama_operator.plan.sentences import rollout as sentences
from llama_operator.plan.standstill import LIMITS, standstill
from llama_serving.config.reasons import Reason

#: Seconds between tries to write what the API server refused: a third of the time since it failed, within these.
SHORTEST_PAUSE, LONGEST_PAUSE = 10.0, 300.0
#: The first start has no moment before which pods do not count.
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def first_start(rollout: RolloutStatus | None, desired: GroupTemplate, state: PlanState) -> RolloutStatus | None:
    """Return the record of a first start that failed; None while it goes on."""
    failed = rollout if rollout and rollout.phase == "Failed" and rollout.key == desired.spec_hash else None
    if not state.ordinals:
        return None  # autoscaling has given it up, and says so
    if state.snapshot.status.observed_generation != state.snapshot.generation:
        return failed  # what the last pass saw was of another spec
    cause = rollback_cause(desired, state, since=_EVER)
    if cause is None:
        return failed if failed and _still_stuck(failed, desired, state) else None
    if failed and failed.reason == cause.reason:
        return failed
    return _failed(desired, cause, state)


def retry_pause(persisted: Persisted, state: PlanState) -> float:
    """Return the least seconds to the next try of a first start that the API server refuses; 0 for any other state.

    A group that has all its pods is not kept waiting.
    """
    rollout = persisted.rollout
    if any(len(group.pods) >= state.spec.sharding.pipeline for group in state.groups):
        return 0.0
    if rollout is None or rollout.phase != "Failed" or rollout.reason != Reason.API_REJECTED or rollout.ended is None:
        return 0.0
    return min(max((state.now - rollout.ended).total_seconds() / 3, SHORTEST_PAUSE), LONGEST_PAUSE)


def _still_stuck(failed: RolloutStatus, desired: GroupTemplate, state: PlanState) -> bool:
    """Return whether a group waits for somebody still, however short: what is tried again moves for a moment.

    What was no standstill, such as an engine that fails, is over when a group serves.
    """
    if failed.reason not in {reason.value for reason in LIMITS}:
        return True
    ids = (GroupId(state.snapshot.key.name, ordinal, desired.pod_hash) for ordinal in state.ordinals)
    pods = {group.id: group.pods for group in state.groups}
    return any(standstill(pods.get(one, ()), state, group=one.name, since=_EVER) for one in ids)


def _failed(desired: GroupTemplate, cause: Explanation, state: PlanState) -> RolloutStatus:
    now = state.now.replace(microsecond=0)
    pods = [pod.created for group in state.groups for pod in group.pods]
    return RolloutStatus(
        **template_identity(desired),
        verification_hash=verification_hash(state.spec, key=desired.spec_hash),
        phase="Failed",
        reason=cause.reason.value,
        message=sentences.first_start_failed(cause.detail),
        to=desired.label,
        step=f"0 of {state.spec.replicas}",
        started=min(pods, default=now).replace(microsecond=0),
        ended=now,
    )

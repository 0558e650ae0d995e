"""Which groups are next in line for admission: all pods of a group, or none.

A stage pod is created with a scheduling gate. Once all pods of its group are there and fit on the nodes (admit.py),
the gates are removed together. A group some pods of which are past the gate (the operator ended in between) is
completed at once.

Other pods may take the capacity first. A group some pods of which the scheduler still refuses HALF_PLACED_LIMIT after
the last step (admission, or a pod that got its node) is requeued: its pods are created anew, with gates, and wait for
FIRST_PAUSE, twice that, four times ... at most LONGEST_PAUSE seconds. How often that happened is in the status until
the group is placed. Where pods of lower priority are preempted for it, they have PREEMPTION_LIMIT to leave. A group of
which nothing is placed takes no capacity from anybody: where the nodes are not known it stays with the scheduler.

A group whose gates are there for HELD waits for capacity: the next groups of its deployment are created after it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from llama_operator.api.v1alpha1.status import RequeueState
from llama_operator.observe.causes.scheduler import concerns_volumes, scheduler_causes
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.actions import Admission
from llama_operator.plan.groups.group import Group
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.scheduler_words import why_unscheduled
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import placement as sentences
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.reasons import Reason

HALF_PLACED_LIMIT = timedelta(seconds=30)
PREEMPTION_LIMIT = timedelta(minutes=5)
HELD = timedelta(seconds=10)
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds


def is_held(group: Group, now: datetime) -> bool:
    """Tell whether the group waits for capacity, rather than for its pods to appear."""
    return all(pod.gated for pod in group.pods) and now - max(pod.created for pod in group.pods) >= HELD


def half_placed(pods: tuple[PodView, ...], snapshot: Snapshot, now: datetime) -> str:
    """Say why the group is requeued; empty when it is not."""
    refused = [pod for pod in pods if pod.admitted and pod.unscheduled]
    if not refused or (snapshot.capacity is None and not any(pod.node for pod in pods)):
        return ""
    if not any(pod.node for pod in pods) and all(_waits_for_volume(pod) for pod in refused):
        return ""  # it holds nothing, and new pods would meet the same claim
    limit = PREEMPTION_LIMIT if any(pod.nominated for pod in pods) else HALF_PLACED_LIMIT
    last = max(moment for pod in pods for moment in (pod.admitted, pod.bound, pod.created) if moment)
    if now - last < limit:
        return ""
    seconds, said = int(limit.total_seconds()), why_unscheduled(refused[0], now)
    return sentences.half_placed(stuck=len(refused), pods=len(pods), seconds=seconds, said=said)


def _waits_for_volume(pod: PodView) -> bool:
    return concerns_volumes(scheduler_causes(pod.unscheduled))


def admissions(
    groups: Iterable[Group],
    snapshot: Snapshot,
    *,
    whole: Collection[GroupId],
    going: Collection[str],
    now: datetime,
) -> tuple[tuple[Admission, ...], tuple[Explanation, ...]]:
    """List the groups that may be admitted, in the order of their turn, and say why requeued ones wait.

    ``whole`` are the wanted groups that have all their pods, ``going`` the names of pods that this pass deletes.
    """
    found, explanations = [], []
    for group in groups:
        gated = tuple((pod.name, pod.uid) for pod in group.pods if pod.gated)
        alive = all(pod.alive and pod.name not in going for pod in group.pods)
        begun = len(gated) < len(group.pods)
        if not gated or not alive or not (begun or group.id in whole):
            continue
        then = not_before(group.id, snapshot.status.requeues)
        if then and now < then and not begun:
            explanations.append(_requeued(group.id, then, snapshot))
        else:
            found.append(Admission(group.id, gated, begun, max(pod.created for pod in group.pods)))
    return tuple(found), tuple(explanations)


def not_before(group: GroupId, requeues: Iterable[RequeueState]) -> datetime | None:
    """Compute when a requeued group is tried again; None for the other groups."""
    record = next((one for one in requeues if one.group == group.name), None)
    if record is None:
        return None
    return record.at + timedelta(seconds=doubling_pause(record.times, first=FIRST_PAUSE, longest=LONGEST_PAUSE))


def first_refused(record: RequeueState) -> datetime:
    """Return when the scheduler first refused a part of a group that was requeued since, at the latest."""
    pauses = (doubling_pause(times, first=FIRST_PAUSE, longest=LONGEST_PAUSE) for times in range(1, record.times))
    return record.at - timedelta(seconds=sum(pauses)) - record.times * HALF_PLACED_LIMIT


def requeues_after(
    before: tuple[RequeueState, ...],
    returned: Iterable[GroupId],
    *,
    groups: Iterable[Group],
    wanted: Iterable[GroupId],
    now: datetime,
) -> tuple[RequeueState, ...]:
    """Count how often each group was requeued; a group that is placed or not wanted any more is forgotten."""
    times = {one.group: one for one in before}
    for group in groups:
        if group.pods and all(pod.node and not pod.gated for pod in group.pods):
            times.pop(group.id.name, None)
    for group_id in returned:
        known = times.get(group_id.name)
        at = now.replace(microsecond=0)
        times[group_id.name] = RequeueState(group=group_id.name, times=known.times + 1 if known else 1, at=at)
    names = {group_id.name for group_id in wanted}
    return tuple(one for name, one in sorted(times.items()) if name in names)


def _requeued(group: GroupId, then: datetime, snapshot: Snapshot) -> Explanation:
    times = next(one.times for one in snapshot.status.requeues if one.group == group.name)
    text = sentences.group_waits_for_retry(group.ordinal, times=times, at=f"{then:%H:%M:%S}")
    return Explanation(Reason.WAITING_FOR_ROOM, text, group.ordinal)

"""Which groups may go to the scheduler: all pods of a group, or none.

A stage pod is made with a scheduling gate. Once all pods of its group are there and there is room for all of them, the
gates are removed together; ``llama_operator.gang_admission`` looks at the nodes and removes them. A group part of which
is past the gate (the operator ended in between) is completed at once.

Somebody else may take the room first. A group some pods of which the scheduler still refuses HALF seconds after the
last step (admission, or a pod that got its node) is taken back: its pods are made anew, with gates, and asked for again
after PAUSE, 2 PAUSE, 4 PAUSE ... LONGEST seconds. How often that happened is in the status until the group is placed.
Where pods of lower priority are displaced for it, they have PREEMPTING seconds to leave. A group of which nothing is
placed takes no room from anybody: where the room is not known it stays with the scheduler.

A group whose gates are there for HELD seconds waits for room: the next groups of its deployment are made after it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from llama_operator.api.v1alpha1.status import RequeueState
from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan.groups.group import Group
from llama_operator.plan.naming import GroupId
from llama_operator.plan.plan import Admission
from llama_operator.plan.reasons import Explanation, Reason

HALF = timedelta(seconds=30)
PREEMPTING = timedelta(minutes=5)
HELD = timedelta(seconds=10)
PAUSE, LONGEST = 30.0, 600.0  # seconds


def is_held(unit: Group, now: datetime) -> bool:
    """The group has been waiting for room, rather than for its pods to appear."""
    return all(pod.gated for pod in unit.pods) and now - max(pod.created for pod in unit.pods) >= HELD


def half_placed(pods: tuple[PodView, ...], world: Snapshot, now: datetime) -> str:
    """Why the pods are taken back; empty when they are not."""
    stuck = [pod for pod in pods if pod.admitted and pod.unscheduled]
    if not stuck or (world.rooms is None and not any(pod.node for pod in pods)):
        return ""
    limit = PREEMPTING if any(pod.nominated for pod in pods) else HALF
    last = max(moment for pod in pods for moment in (pod.admitted, pod.bound, pod.created) if moment)
    if now - last < limit:
        return ""
    seconds, said = int(limit.total_seconds()), stuck[0].unscheduled.strip().rstrip(".")
    return f"{len(stuck)} of its {len(pods)} pods found no node within {seconds} s, the scheduler says: {said}"


def admissions(
    units: Iterable[Group], whole: Collection[GroupId], going: frozenset[str], world: Snapshot, now: datetime
) -> tuple[tuple[Admission, ...], tuple[Explanation, ...]]:
    """Groups whose gates may go, in the order of their turn, and those that were taken back and wait until later.

    ``whole`` are the wanted groups that have all their pods, ``going`` the names of pods that this pass deletes.
    """
    found, holds = [], []
    for unit in units:
        gated = tuple((pod.name, pod.uid) for pod in unit.pods if pod.gated)
        alive = all(pod.alive and pod.name not in going for pod in unit.pods)
        begun = len(gated) < len(unit.pods)
        if not gated or not alive or not (begun or unit.group in whole):
            continue
        then = not_before(unit.group, world.status.requeues)
        if then and now < then and not begun:
            holds.append(_later(unit.group, then, world))
        else:
            found.append(Admission(unit.group, gated, begun, max(pod.created for pod in unit.pods)))
    return tuple(found), tuple(holds)


def not_before(group: GroupId, requeues: Iterable[RequeueState]) -> datetime | None:
    """When a group that was taken back may be asked for again; None for the others."""
    record = next((one for one in requeues if one.group == group.name), None)
    if record is None:
        return None
    return record.at + timedelta(seconds=min(PAUSE * 2.0 ** min(record.times - 1, 16), LONGEST))


def remembered(
    before: tuple[RequeueState, ...], returned: Iterable[GroupId], units: Iterable[Group], wanted: Iterable[GroupId],
    now: datetime,
) -> tuple[RequeueState, ...]:  # fmt: skip
    """How often each group was taken back; of those that are placed or not wanted any more, nothing."""
    times = {one.group: one for one in before}
    for unit in units:
        if unit.pods and all(pod.node and not pod.gated for pod in unit.pods):
            times.pop(unit.group.name, None)
    for group in returned:
        known = times.get(group.name)
        at = now.replace(microsecond=0)
        times[group.name] = RequeueState(group=group.name, times=known.times + 1 if known else 1, at=at)
    names = {group.name for group in wanted}
    return tuple(one for name, one in sorted(times.items()) if name in names)


def _later(group: GroupId, then: datetime, world: Snapshot) -> Explanation:
    record = next(one for one in world.status.requeues if one.group == group.name)
    text = (
        f"group {group.ordinal} was taken back {record.times} time(s), because only a part of it found room: it is"
        f" asked for again at {then:%H:%M:%S} UTC"
    )
    return Explanation(Reason.WAITING_FOR_ROOM, text, group.ordinal)

"""The pods of one unit: made whole, rebuilt when it lost a part, or taken down."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan import sentences
from llama_operator.plan.groups.removal import deletes
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import half_placed
from llama_operator.plan.plan import CreateStage, DeletePod
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason
from llama_serving.config.state import Phase

# A broken group serves nobody: its pods need no long farewell.
BROKEN_GRACE = 5
# Longer than a watch lags behind in a healthy cluster.
WATCH_LAG = timedelta(seconds=10)


@dataclass(frozen=True)
class PodSteps:
    """What is to be done with the pods of a unit."""

    creates: tuple[CreateStage, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    retiring: frozenset[str] = frozenset()  # names of leaders that are to leave the rotation
    holds: tuple[Explanation, ...] = ()
    returned: bool = False  # it was placed in part, and is asked for again later


def complete(pods: tuple[PodView, ...], group: GroupId, stages: int, world: Snapshot, now: datetime) -> PodSteps:
    """Make a unit whole, or take it down when it lost a part."""
    ordinal = group.ordinal
    lost = _lost(pods, stages, world, now)
    if lost:
        detail = sentences.group_rebuilt(ordinal, lost=lost, pods=len(pods), stages=stages)
        leaders = frozenset(pod.name for pod in pods if pod.stage == 0)
        leaving = tuple(deletes(pods, lost, world, now, grace=BROKEN_GRACE))
        return PodSteps(deletes=leaving, retiring=leaders, holds=(Explanation(Reason.POD_LOST, detail, ordinal),))
    halves = half_placed(pods, world, now)
    if halves:
        hold = Explanation(Reason.WAITING_FOR_ROOM, sentences.group_requeued(ordinal, why=halves), ordinal)
        return give_back(pods, hold, world, now)
    present = {pod.stage for pod in pods}
    missing = [stage for stage in range(stages) if stage not in present]
    return PodSteps(creates=tuple(CreateStage(group, stage) for stage in missing))


def give_back(pods: tuple[PodView, ...], hold: Explanation, world: Snapshot, now: datetime) -> PodSteps:
    """All pods of a unit that does not serve yet: what it has of the room is free again."""
    leaving = tuple(deletes(pods, hold.detail, world, now, grace=BROKEN_GRACE))
    return PodSteps(deletes=leaving, holds=(hold,), returned=True)


def retire(pods: tuple[PodView, ...], hold: Explanation, why: str, world: Snapshot, now: datetime) -> PodSteps:
    """Out of rotation, leader first: a stage that leaves earlier would break the requests in flight."""
    leaders = tuple(pod for pod in pods if pod.stage == 0)
    leaving = leaders or pods
    return PodSteps(
        deletes=tuple(deletes(leaving, why, world, now, grace=None)),
        retiring=frozenset(pod.name for pod in leaders),
        holds=(hold,),
    )


def _lost(pods: tuple[PodView, ...], stages: int, world: Snapshot, now: datetime) -> str:
    """Why the unit cannot go on with the pods it has; empty when it can."""
    for pod in pods:
        if pod.finished:
            return sentences.pod_ended(pod.name, word=pod.reason or pod.phase, said=pod.message)
        if not pod.alive:
            return sentences.pod_deleted(pod.name)
        if pod.stage >= stages:
            return sentences.pod_surplus(pod.name)
    absent = stages - len(pods)
    if pods and absent and _was_whole(pods, world, now):
        return sentences.pods_vanished(absent)
    return ""


def _was_whole(pods: tuple[PodView, ...], world: Snapshot, now: datetime) -> bool:
    """All stages had once joined: what remains belongs to a cluster that lost a part, not to one in the making.

    Cells are asked now, the watch may lag: a pod that it does not show yet must not end those that just joined it.
    """
    if now - max(pod.created for pod in pods) < WATCH_LAG:
        return False
    for pod in pods:
        answer = world.cells.get(pod.name)
        state = answer.state if answer else None
        if pod.in_rotation is not None or (state and state.phase in (Phase.LOADING, Phase.SERVING)):
            return True
    return False

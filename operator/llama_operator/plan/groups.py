"""What each group needs next, from its pods alone.

Invariants, for every pass: a group never mixes revisions; a pod is created only when no pod of an older revision and
no dying pod of its group is left; at most one serving group is taken away for a new revision, and only while every
other wanted group serves. A lost pod (deleted, evicted, on a lost node) rebuilds its group and only its group.
State is read from the cluster, none is kept.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from llama_operator.observe import PodView, Snapshot
from llama_operator.plan.model import CreateStage, DeletePod
from llama_operator.plan.naming import GroupId
from llama_operator.plan.reasons import Hold, Reason
from llama_operator.plan.removal import deletes
from llama_serving.config.state import Phase

# A broken group serves nobody: its pods need no long farewell.
BROKEN_GRACE = 5
# Longer than a watch lags behind in a healthy cluster.
WATCH_LAG = timedelta(seconds=10)


@dataclass(frozen=True)
class Wish:
    """What the spec asks of the groups."""

    deployment: str
    revision: str
    replicas: int
    stages: int


@dataclass(frozen=True)
class GroupSteps:
    """What is to be done for the groups."""

    creates: tuple[CreateStage, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    retiring: frozenset[str] = frozenset()  # names of leaders that are to leave the rotation
    keep: tuple[GroupId, ...] = ()
    holds: tuple[Hold, ...] = ()

    def __add__(self, other: "GroupSteps") -> "GroupSteps":
        return GroupSteps(
            self.creates + other.creates,
            self.deletes + other.deletes,
            self.retiring | other.retiring,
            self.keep + other.keep,
            self.holds + other.holds,
        )


def group_steps(world: Snapshot, wish: Wish, now: datetime) -> GroupSteps:
    """Next steps of all groups, lowest ordinal first."""
    steps = retire_surplus(world, wish, now)
    budget = _replace_budget(world, wish)
    for ordinal in range(wish.replicas):
        pods = tuple(pod for pod in world.stages if pod.group == ordinal)
        old = tuple(pod for pod in pods if pod.revision != wish.revision)
        if old:
            step, cost = _replace(old, ordinal, budget, world, wish, now)
            steps, budget = steps + step, budget - cost
        else:
            steps += _complete(pods, ordinal, world, wish, now)
    return steps


def retire_surplus(world: Snapshot, wish: Wish, now: datetime) -> GroupSteps:
    """Take away the groups that ``spec.replicas`` does not ask for; the last group that serves stays."""
    steps = GroupSteps()
    last = min((pod.group for pod in world.stages if is_serving(pod)), default=-1)
    for ordinal in sorted({pod.group for pod in world.stages if pod.group >= wish.replicas}):
        pods = tuple(pod for pod in world.stages if pod.group == ordinal)
        why = f"group {ordinal} is above the {wish.replicas} that spec.replicas asks for"
        if ordinal == last:
            hold = Hold(Reason.SCALING_DOWN, f"{why}: it stays until one of those serves", ordinal)
            steps += GroupSteps(keep=_groups_of(pods, world), holds=(hold,))
        else:
            steps += _retire(pods, Hold(Reason.SCALING_DOWN, f"{why}: it drains", ordinal), why, world, now)
    return steps


def is_serving(pod: PodView) -> bool:
    """The leader of a group that gets requests."""
    return pod.stage == 0 and pod.alive and pod.ready


def _replace_budget(world: Snapshot, wish: Wish) -> int:
    """How many serving groups may be taken away now: one, minus those that already do not serve."""
    return 1 - _missing(world, wish)


def _missing(world: Snapshot, wish: Wish) -> int:
    return wish.replicas - len({ordinal for ordinal, _ in _standing(world, wish)})


def _standing(world: Snapshot, wish: Wish) -> frozenset[tuple[int, str]]:
    """Wanted groups, with their revision, that serve and go on serving: they have all their pods, and none ends."""
    serving = {(pod.group, pod.revision) for pod in world.stages if is_serving(pod) and pod.group < wish.replicas}
    torn = {(pod.group, pod.revision) for pod in world.stages if not pod.alive}
    present = Counter((pod.group, pod.revision) for pod in world.stages)
    short = {unit for unit, count in present.items() if unit[1] == wish.revision and count < wish.stages}
    return frozenset(serving - torn - short)


def _replace(
    old: tuple[PodView, ...], ordinal: int, budget: int, world: Snapshot, wish: Wish, now: datetime
) -> tuple[GroupSteps, int]:
    standing = _standing(world, wish)
    serves = any((ordinal, pod.revision) in standing for pod in old) and (ordinal, wish.revision) not in standing
    if serves and budget < 1:
        missing = _missing(world, wish)
        detail = f"group {ordinal} keeps revision {old[0].revision}: {max(missing, 1)} other group(s) do not serve yet"
        return GroupSteps(keep=_groups_of(old, world), holds=(Hold(Reason.REPLACING, detail, ordinal),)), 0
    why = f"revision {old[0].revision} is replaced by {wish.revision}"
    hold = Hold(Reason.REPLACING, f"group {ordinal} drains: {why}", ordinal)
    return _retire(old, hold, why, world, now), int(serves)


def _retire(pods: tuple[PodView, ...], hold: Hold, why: str, world: Snapshot, now: datetime) -> GroupSteps:
    """Out of rotation, leader first: a stage that leaves earlier would break the requests in flight."""
    leaders = tuple(pod for pod in pods if pod.stage == 0)
    leaving = leaders or pods
    return GroupSteps(
        deletes=tuple(deletes(leaving, why, world, now, grace=None)),
        retiring=frozenset(pod.name for pod in leaders),
        keep=_groups_of(pods, world),
        holds=(hold,),
    )


def _complete(pods: tuple[PodView, ...], ordinal: int, world: Snapshot, wish: Wish, now: datetime) -> GroupSteps:
    """Make a group of the present revision whole, or take it down when it lost a part."""
    group = GroupId(wish.deployment, ordinal, wish.revision)
    lost = _lost(pods, world, wish, now)
    if lost:
        detail = f"group {ordinal} is rebuilt: {lost}; {len(pods)} of its {wish.stages} pods are still to go"
        leaders = frozenset(pod.name for pod in pods if pod.stage == 0)
        leaving = tuple(deletes(pods, lost, world, now, grace=BROKEN_GRACE))
        return GroupSteps(deletes=leaving, retiring=leaders, holds=(Hold(Reason.POD_LOST, detail, ordinal),))
    present = {pod.stage for pod in pods}
    missing = [stage for stage in range(wish.stages) if stage not in present]
    return GroupSteps(creates=tuple(CreateStage(group, stage) for stage in missing))


def _lost(pods: tuple[PodView, ...], world: Snapshot, wish: Wish, now: datetime) -> str:
    """Why the group cannot go on with the pods it has; empty when it can."""
    for pod in pods:
        if pod.finished:
            return f"pod {pod.name} ended: {pod.reason or pod.phase} {pod.message}".rstrip()
        if not pod.alive:
            return f"pod {pod.name} is being deleted"
        if pod.stage >= wish.stages:
            return f"pod {pod.name} is a stage too many"
    absent = wish.stages - len(pods)
    if pods and absent and _was_whole(pods, world, now):
        return f"{absent} pod(s) vanished"
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


def _groups_of(pods: tuple[PodView, ...], world: Snapshot) -> tuple[GroupId, ...]:
    return tuple(sorted({GroupId(world.key.name, pod.group, pod.revision) for pod in pods}))

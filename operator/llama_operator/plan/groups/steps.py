"""What each group needs next, and in which order groups are changed.

Invariants, for every pass: a unit never mixes revisions; a pod is created only when no dying pod of its unit is left;
serving units are taken away for a change only while those that stay are at least ``replicas - maxUnavailable``; there
are at most ``replicas + maxSurge`` units by our own doing. A lost pod (deleted, evicted, on a lost node) rebuilds its
group and only its group. State is read from the cluster and from the record of the rollout, none is kept here.
"""

from dataclasses import dataclass, field, replace

from llama_operator.observe.deployment import PodView
from llama_operator.plan.groups.drain import given_up, held_by, overdue
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.pods import PodSteps, complete, give_back, retire
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.weights_step import GroupStep, stand, swap
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import is_held
from llama_operator.plan.plan import CreateStage, DeletePod, GroupPlan
from llama_operator.plan.reasons import Explanation, Reason


@dataclass(frozen=True)
class UpdatePolicy:
    """What the groups are to be in this pass, and how fast they may get there."""

    aim: GroupTemplate  # of the groups that may change
    stay: GroupTemplate  # of the others, where they have to be made
    changing: frozenset[int] = frozenset()  # ordinals that may change
    later: frozenset[int] = frozenset()  # those whose turn comes: the weights are staged beside what serves
    backwards: bool = False  # highest ordinal first
    take: bool = True  # serving groups may be taken away, and groups be made beside them
    surge: int = 0  # units beside those that they replace
    unavailable: int = 1

    def target(self, ordinal: int) -> GroupTemplate:
        """What the group of this ordinal is to be."""
        return self.aim if ordinal in self.changing else self.stay


@dataclass(frozen=True)
class GroupSteps:
    """What is to be done for the groups."""

    creates: tuple[CreateStage, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    retiring: frozenset[str] = frozenset()  # names of leaders that are to leave the rotation
    units: tuple[GroupStep, ...] = ()  # of groups whose pods stay
    plans: tuple[GroupPlan, ...] = ()
    keep: tuple[GroupId, ...] = ()
    holds: tuple[Explanation, ...] = ()
    whole: tuple[GroupId, ...] = ()  # wanted, and all their pods are there
    returned: tuple[GroupId, ...] = ()  # only a part of them found room: they are asked for again later
    behind: tuple[int, ...] = ()  # ordinals that are not made before another group has found room

    def __add__(self, other: "GroupSteps") -> "GroupSteps":
        return GroupSteps(
            self.creates + other.creates,
            self.deletes + other.deletes,
            self.retiring | other.retiring,
            self.units + other.units,
            self.plans + other.plans,
            self.keep + other.keep,
            self.holds + other.holds,
            self.whole + other.whole,
            self.returned + other.returned,
            self.behind + other.behind,
        )


@dataclass
class DisruptionBudget:
    """How many serving units may still be taken away in this pass, and how many be made beside others."""

    take: int
    room: int


@dataclass
class _Pass:
    scene: PlanState
    course: UpdatePolicy
    budget: DisruptionBudget
    steps: GroupSteps = field(default_factory=GroupSteps)
    ahead: GroupId | None = None  # waits for room: groups after it are not made


def group_steps(scene: PlanState, course: UpdatePolicy) -> GroupSteps:
    """Next steps of all groups, in the order in which they are changed."""
    replicas = scene.spec.replicas
    take = scene.available - (replicas - course.unavailable)
    missing = sum(not scene.at(ordinal) for ordinal in scene.wanted)  # they are made, or come back, anyway
    room = replicas + course.surge - len(scene.units) - missing
    run = _Pass(scene, course, DisruptionBudget(take, room), retire_surplus(scene))
    for ordinal in sorted(scene.wanted, reverse=course.backwards):
        run.steps += _ordinal(ordinal, run)
    return run.steps


def leave_alone(scene: PlanState) -> GroupSteps:
    """There is nothing that groups could be made from: what serves goes on serving, surplus groups leave."""
    steps = retire_surplus(scene)
    wanted = (unit for unit in scene.units if unit.group.ordinal in scene.wanted)
    for unit in wanted:
        steps += GroupSteps(units=(stand(unit, scene),), keep=(unit.group,))
    return steps


def retire_surplus(scene: PlanState) -> GroupSteps:
    """Take away the groups that are not wanted, in two steps: out of rotation, and gone when their requests have ended.

    In between a group that is wanted again is taken back: its engine is there.
    """
    steps = GroupSteps()
    for unit in (unit for unit in scene.units if unit.group.ordinal not in scene.wanted):
        steps += _surplus(unit, scene)
    return steps


def _surplus(unit: Group, scene: PlanState) -> GroupSteps:
    ordinal, asks = unit.group.ordinal, "the load" if scene.spec.autoscaling else "spec.replicas"
    why = f"group {ordinal} is above the {scene.spec.replicas} that {asks} asks for"
    held = _requests_of(unit, scene)
    hold = Explanation(Reason.SCALING_DOWN, f"{why}: it drains{held and f', {held}'}", ordinal)
    if not held:
        return _retired(unit, hold, why, scene)
    move = overdue(unit, scene.spec, scene.now)
    step = replace(stand(unit, scene), gate=False, why=why, move=move, hold=hold)
    return GroupSteps(units=(step,), keep=(unit.group,), holds=(hold,))


def _requests_of(unit: Group, scene: PlanState) -> str:
    """Who may still have requests of the unit, in words; empty when nobody has, or they had their time."""
    leader = unit.leader
    if leader is None or unit.torn or leader.in_rotation is None or given_up(unit, scene.spec, scene.now):
        return ""
    if leader.in_rotation:
        return "its leader leaves the rotation"
    return held_by(unit, scene.world, scene.now)


def is_serving(pod: PodView) -> bool:
    """The leader of a group that gets requests."""
    return pod.stage == 0 and pod.alive and pod.ready


def _ordinal(ordinal: int, run: _Pass) -> GroupSteps:
    scene, target = run.scene, run.course.target(ordinal)
    units = scene.at(ordinal)
    mine = next((unit for unit in units if unit.group.pod_hash == target.pod_hash), None)
    others = tuple(unit for unit in units if unit is not mine)
    if not others:
        return _build(mine, GroupId(scene.world.key.name, ordinal, target.pod_hash), target, run)
    if mine is not None:
        return _build(mine, mine.group, target, run) + _leave(others, mine, target, run)
    if ordinal not in run.course.changing and any(unit.serving for unit in others):
        return _standing(others, scene)
    return _replace(others, ordinal, target, run)


def _build(unit: Group | None, group: GroupId, target: GroupTemplate, run: _Pass) -> GroupSteps:
    """Make the unit whole, and bring its weights to the target's."""
    scene = run.scene
    held = unit is not None and is_held(unit, scene.now)
    if run.ahead and (unit is None or held):
        return _behind(unit, group, run.ahead, scene)
    run.ahead = run.ahead or (group if held else None)
    pods = unit.pods if unit else ()
    built = complete(pods, group, target.spec.sharding.pipeline, scene.world, scene.now)
    mine, busy = (group,), bool(built.creates or built.deletes or built.retiring)
    made = GroupSteps(
        built.creates, built.deletes, built.retiring, holds=built.holds,
        whole=() if busy else mine, returned=mine if built.returned else (),
    )  # fmt: skip
    if unit is None or built.deletes or built.retiring:
        return made + GroupSteps(plans=(GroupPlan(group, target.serve, target.spec),))
    if unit.group.ordinal not in run.course.changing and unit.serving:
        ahead = run.course.aim if unit.group.ordinal in run.course.later else None
        step = stand(unit, scene, ahead=ahead.serve if ahead else None)
    else:
        may_take = run.course.take and run.budget.take > 0
        step = swap(unit, target, scene, may_take=may_take)
        run.budget.take -= int(step.takes)
    serve = step.serve or scene.held(unit)
    own = GroupSteps(units=(step,), holds=(step.hold,) if step.hold else ())
    if serve is None:
        return made + own + GroupSteps(keep=(group,))
    return made + own + GroupSteps(plans=(GroupPlan(group, serve, target.spec),))


def _behind(unit: Group | None, group: GroupId, ahead: GroupId, scene: PlanState) -> GroupSteps:
    """One group at a time waits for room with pods of its own."""
    text = f"group {group.ordinal} is made when group {ahead.ordinal}, which waits for room, has found it"
    hold = Explanation(Reason.WAITING_FOR_ROOM, text, group.ordinal)
    gone = give_back(unit.pods, hold, scene.world, scene.now) if unit else PodSteps(holds=(hold,))
    return GroupSteps(deletes=gone.deletes, holds=gone.holds, behind=(group.ordinal,))


def _replace(others: tuple[Group, ...], ordinal: int, target: GroupTemplate, run: _Pass) -> GroupSteps:
    """No unit of the wanted template is there yet."""
    course, scene, old = run.course, run.scene, others[0].group.pod_hash
    serving = any(unit.may_serve(scene.now) for unit in others)
    why = f"pods {old} is replaced by {target.pod_hash}"
    if not serving:
        return _all_retired(others, why, scene)
    if course.take and course.surge:
        if run.budget.room > 0:
            run.budget.room -= 1
            group = GroupId(scene.world.key.name, ordinal, target.pod_hash)
            return _build(None, group, target, run) + _standing(others, scene)
        text = f"group {ordinal} keeps pods {old}: {len(scene.units)} groups are there, {course.surge} more than"
        text = f"{text} {scene.spec.replicas} are allowed while they are replaced"
    elif course.take and run.budget.take > 0:
        run.budget.take -= 1
        return _all_retired(others, why, scene)
    else:
        missing = max(scene.spec.replicas - scene.available, 1)
        text = f"group {ordinal} keeps pods {old}: {missing} other group(s) do not serve yet"
    hold = (Explanation(Reason.REPLACING, text, ordinal),) if course.take else ()
    return _standing(others, scene) + GroupSteps(holds=hold)


def _leave(others: tuple[Group, ...], mine: Group, target: GroupTemplate, run: _Pass) -> GroupSteps:
    """The wanted unit is there, or on its way: the others go when it serves, or when they do not."""
    scene, steps = run.scene, GroupSteps()
    wait = scene.spec.rollout.min_ready_seconds
    for unit in others:
        why = f"pods {unit.group.pod_hash} is replaced by {target.pod_hash}"
        spare = mine.available(scene.now, wait) and mine.has(target.serve) and run.budget.take > 0
        if unit.may_serve(scene.now) and not spare:
            steps += _standing((unit,), scene)
            continue
        run.budget.take -= int(unit.serving)
        steps += _all_retired((unit,), why, scene)
    return steps


def _standing(units: tuple[Group, ...], scene: PlanState) -> GroupSteps:
    steps = GroupSteps()
    for unit in units:
        step = stand(unit, scene)
        steps += GroupSteps(units=(step,), keep=(unit.group,), holds=(step.hold,) if step.hold else ())
    return steps


def _all_retired(units: tuple[Group, ...], why: str, scene: PlanState) -> GroupSteps:
    steps = GroupSteps()
    for unit in units:
        ordinal = unit.group.ordinal
        steps += _retired(unit, Explanation(Reason.REPLACING, f"group {ordinal} drains: {why}", ordinal), why, scene)
    return steps


def _retired(unit: Group, hold: Explanation, why: str, scene: PlanState) -> GroupSteps:
    gone = retire(unit.pods, hold, why, scene.world, scene.now)
    return GroupSteps(deletes=gone.deletes, retiring=gone.retiring, keep=(unit.group,), holds=gone.holds)

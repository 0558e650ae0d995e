"""One pass of one LlamaDeployment: ``plan(snapshot, settings, now)``; pure, so that it can be tried on any world.

0. how many groups there shall be (plan/scaling.py); for all that follows the spec asks for so many
1. what the spec asks for: its weights, once they are ready, and a layout that they allow
2. where the rollout stands, and what the groups are to be therefore (plan/record.py, plan/course.py)
3. the next step of every group (plan/groups.py, plan/swap.py)
4. say why anything waits
"""

from dataclasses import replace
from datetime import datetime

from llama_operator.api import LlamaDeploymentSpec, ModelSpec
from llama_operator.api.v1alpha1.status import GroupVerdict
from llama_operator.hashing import short_hash
from llama_operator.observe.deployment import PodView, Snapshot, WeightsView
from llama_operator.plan.autoscaling.memory import NOTHING, Recall
from llama_operator.plan.autoscaling.scaling import scale
from llama_operator.plan.explain import explain_gateway, explain_group
from llama_operator.plan.groups.images import taken_defaults
from llama_operator.plan.groups.state import PlanState, plan_state
from llama_operator.plan.groups.steps import GroupSteps, UpdatePolicy, group_steps, leave_alone
from llama_operator.plan.groups.template import desired_template, stable_template
from llama_operator.plan.groups.verification import group_verdict, remember
from llama_operator.plan.groups.weights_lookup import weights_of
from llama_operator.plan.groups.weights_step import GroupStep, desired_states, rotation_of
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import admissions, remembered
from llama_operator.plan.placement.layout import check_layout
from llama_operator.plan.plan import Admission, Persisted, Plan, PutDesiredState, SetRotation, persisted_state
from llama_operator.plan.reasons import FAILURES, Explanation, Reason
from llama_operator.plan.rollout.policy import decided_anew, update_policy
from llama_operator.plan.rollout.state_machine import Templates, advance, settle
from llama_operator.plan.settings import Settings

SOON = 1.0  # seconds between passes while something starts or leaves: cells send no events
READING = 0.8  # where the number of groups follows the load: with the pass itself about once a second
LATER = 15.0  # and while all serve: a cell that stops serving shows in its pod's readiness, which is an event


def plan(world: Snapshot, settings: Settings, now: datetime, recall: Recall = NOTHING) -> Plan:
    """What to do now. A deployment that is being deleted gets an empty plan: owner references do the rest."""
    memory = persisted_state(world.status)
    if world.deleting:
        return Plan(memory=memory)
    if world.spec is None:
        hold = Explanation(Reason.SPEC_INVALID, world.spec_error)
        return Plan(keep=_all_groups(world), memory=memory, holds=(hold,), recheck=LATER)
    scaled = scale(world, world.spec, recall, now)
    if scaled is None:
        found = _plan(world, world.spec, settings, now)
        return replace(found, replicas=world.spec.replicas, memory=replace(found.memory, autoscaling=None))
    found = _plan(world, world.spec.model_copy(update={"replicas": scaled.target}), settings, now)
    return replace(
        found,
        replicas=scaled.target,
        scaling=scaled,
        memory=replace(found.memory, autoscaling=scaled.record),
        holds=found.holds + scaled.holds,
        recheck=min(found.recheck, READING),
    )


def _plan(world: Snapshot, spec: LlamaDeploymentSpec, settings: Settings, now: datetime) -> Plan:
    scene, before = plan_state(world, spec, settings, now), persisted_state(world.status)
    view = weights_of(world.weights, spec.model)
    refused = check_layout(spec, view.facts) if view and view.facts else ()
    wanted = None if refused else settle(desired_template(world, spec, settings), before)
    aims = Templates(wanted, stable_template(world, spec, scene.known))
    memory = _with_default_images(advance(before, aims, scene), aims, spec)
    course = update_policy(before, aims, scene)
    if course and decided_anew(before, memory):
        course = replace(course, take=False)
    steps = group_steps(scene, course) if course else leave_alone(scene)
    waits = _weights_holds(view, spec) + refused + steps.holds + _group_waits(scene, course, steps, now)
    return _whole(scene, steps, memory, waits + explain_gateway(world), aims)


def _with_default_images(memory: Persisted, aims: Templates, spec: LlamaDeploymentSpec) -> Persisted:
    """Of what is wanted, and of what the groups may go back to."""
    if aims.wanted is None:
        return memory
    needed = {record.template_hash for record in (memory.rollout, memory.stable) if record}
    known = tuple(one for one in memory.default_images if one.template_hash in needed)
    images = taken_defaults(spec, aims.wanted.spec.images, template=aims.wanted.template_hash, known=known)
    return replace(memory, default_images=images)


def _whole(
    scene: PlanState, steps: GroupSteps, memory: Persisted, waits: tuple[Explanation, ...], aims: Templates
) -> Plan:
    """The plan, from what was decided."""
    world, models = scene.world, _models(scene.spec, aims)
    wishes = tuple(wish for step in steps.units for wish in desired_states(step, scene))
    stands = _record_holds(memory)
    admitted, later = _admissions(scene, steps)
    waits += later
    return Plan(
        groups=steps.plans,
        keep=steps.keep,
        creates=steps.creates,
        admissions=admitted,
        deletes=steps.deletes,
        rotations=_rotations(world, steps),
        wishes=wishes,
        weights=models,
        releases=_releases(scene, models),
        model=weights_of(world.weights, scene.spec.model),
        memory=_with_requeues(_with_baselines(memory, steps.units, wishes, scene), steps, scene),
        verdicts=_verdicts(scene),
        holds=stands + waits,
        recheck=SOON if waits or wishes or (stands and not _rests(memory)) else LATER,
    )


def _admissions(scene: PlanState, steps: GroupSteps) -> tuple[tuple[Admission, ...], tuple[Explanation, ...]]:
    going = frozenset(delete.name for delete in steps.deletes)
    found, later = admissions(scene.units, steps.whole, going, scene.world, scene.now)
    return tuple(replace(item, behind=steps.behind) for item in found), later


def _with_requeues(memory: Persisted, steps: GroupSteps, scene: PlanState) -> Persisted:
    wanted = (item.group for item in steps.plans)
    before = scene.world.status.requeues
    return replace(memory, requeues=remembered(before, steps.returned, scene.units, wanted, scene.now))


def _all_groups(world: Snapshot) -> tuple[GroupId, ...]:
    return tuple(sorted({GroupId(world.key.name, pod.group, pod.pod_hash) for pod in world.stages}))


def _rotations(world: Snapshot, steps: GroupSteps) -> tuple[SetRotation, ...]:
    leaders = (pod for pod in world.stages if pod.stage == 0)
    leaving = (_leaves(pod) for pod in leaders if pod.name in steps.retiring or not pod.alive)
    changed = (rotation_of(step) for step in steps.units)
    found = {change.pod: change for change in (*changed, *leaving) if change}
    return tuple(sorted(found.values(), key=lambda change: (change.open_, change.pod)))  # first those that close


def _leaves(pod: PodView) -> SetRotation | None:
    if not pod.in_rotation:
        return None
    return SetRotation(pod.name, pod.uid, open_=False, weights="", why="the group leaves")


# -- weights ----------------------------------------------------------------------------------------------------------


def _weights_holds(view: WeightsView | None, spec: LlamaDeploymentSpec) -> tuple[Explanation, ...]:
    model = spec.model
    if view is None:
        text = f"the weights of {model.source} at {model.revision} are looked at before any device is asked for"
        return (Explanation(Reason.INSPECTING_MODEL, text),)
    if view.ready and view.manifest is not None and view.facts is not None:
        return ()
    if view.refused:
        return (Explanation(_word(view.reason, Reason.MODEL_REFUSED), view.message),)
    text = view.message or f"LlamaWeights {view.name} is looked at before any device is asked for"
    return (Explanation(_word(view.reason, Reason.INSPECTING_MODEL), text),)


def _word(text: str, other: Reason) -> Reason:
    """A reason that was written elsewhere, perhaps by another version."""
    return next((reason for reason in Reason if reason.value == text), other)


def _models(spec: LlamaDeploymentSpec, aims: Templates) -> tuple[ModelSpec, ...]:
    """Of the present spec, and of the last good one: groups may have to go back to it."""
    if aims.good is None or aims.good.spec.model == spec.model:
        return (spec.model,)
    return (spec.model, aims.good.spec.model)


def _releases(scene: PlanState, models: tuple[ModelSpec, ...]) -> tuple[WeightsView, ...]:
    """Weights of this deployment that no group has or may soon have.

    Those that served before stay for a while: a user who goes back to them must not wait until they are read again.
    """
    world, needed = scene.world, {unit.heading for unit in scene.units}
    needed |= {baseline.digest for baseline in world.status.baselines}
    wanted = {view.name for model in models if (view := weights_of(world.weights, model))}
    mine = (view for _, view in sorted(world.weights.items()) if world.uid in view.owners)
    return tuple(view for view in mine if view.ours and view.name not in wanted and view.digest not in needed)


# -- what was measured ------------------------------------------------------------------------------------------------


def _with_baselines(
    memory: Persisted, steps: tuple[GroupStep, ...], wishes: tuple[PutDesiredState, ...], scene: PlanState
) -> Persisted:
    """Verdicts of groups that passed and hold the present wish, so that they were asked what is asked now."""
    untold = {wish.pod for wish in wishes}
    verified = [
        verdict
        for step in steps
        if step.judgement and step.judgement.passed and (verdict := step.unit.verdict)
        if step.unit.leader and step.unit.leader.name not in untold
    ]
    texts = short_hash(list(scene.spec.verify.quality_texts))
    return replace(memory, baselines=remember(memory.baselines, verified, texts))


def _verdicts(scene: PlanState) -> dict[str, GroupVerdict]:
    found = {}
    for unit in scene.units:
        serve, verdict = scene.held(unit), unit.verdict
        if serve and verdict and verdict.digest == serve.weights.digest:
            judgement = scene.judge(unit, serve)
            if judgement.passed is not None:
                found[unit.group.name] = group_verdict(verdict, judgement)
    return found


# -- why anything waits -----------------------------------------------------------------------------------------------


def _record_holds(memory: Persisted) -> tuple[Explanation, ...]:
    record = memory.rollout
    if record is None or record.phase == "Done":
        return ()
    reason = _word(record.reason, Reason.ROLLING_OUT)
    if record.phase == "RollingOut":
        return (Explanation(reason, record.message),)
    end = "go back to" if record.phase == "RollingBack" else "serve"
    held = "" if record.phase == "RollingBack" else "; the rollout is held until the spec changes"
    good = f"{memory.stable.id} in pods {memory.stable.pod_hash}" if memory.stable else record.before
    return (Explanation(reason, f"{record.to} was given up: {record.message}; the groups {end} {good}{held}"),)


def _rests(memory: Persisted) -> bool:
    """The rollout goes on with another spec only, which is an event."""
    record = memory.rollout
    return record is not None and (record.phase == "Held" or record.reason == Reason.ROLLOUT_PAUSED)


def _group_waits(
    scene: PlanState, course: UpdatePolicy | None, steps: GroupSteps, now: datetime
) -> tuple[Explanation, ...]:
    explained = {hold.group for hold in steps.holds}
    waits = []
    for ordinal in scene.wanted:
        pods = tuple(pod for pod in scene.world.stages if pod.group == ordinal)
        stages = course.target(ordinal).spec.sharding.pipeline if course else 0
        hold = explain_group(ordinal, pods, stages, scene.world, now)
        if hold and (ordinal not in explained or hold.reason in FAILURES):
            waits.append(hold)
    return tuple(waits)

"""The next step of one unit whose pods stay: which weights it is told to serve, and whether its gate is open.

Derived at each pass from what is seen, so that a pass that is lost, or an operator that is killed, changes nothing:

    serving other weights   stage the wanted ones beside them; staged and allowed to go: close the gate
    gate closed             wait until the gateways have let go, then: serve the wanted ones
    having the wanted ones  judge what the leader measured: open the gate, or leave it closed and say why
    engine not there        serve the wanted ones

A unit whose next weights are not staged keeps, or gets back, the gate of those that it has. Before the gate opens
there is a verdict on exactly the weights that the engine has (plan/verify.py).
"""

from dataclasses import dataclass, replace

from llama_operator.observe.deployment import PodView
from llama_operator.plan.groups.drain import given_up, held_by, overdue
from llama_operator.plan.groups.group import Group, Staging
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.verification import Verdict
from llama_operator.plan.plan import PutDesiredState, SetRotation
from llama_operator.plan.reasons import Explanation, Reason
from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.config.state import Phase

_REFUSALS = {reason.value: reason for reason in (
    Reason.DIGEST_DIFFERS, Reason.DISK_FULL, Reason.WEIGHTS_DENIED, Reason.WEIGHTS_GONE, Reason.WEIGHTS_UNREADABLE,
)}  # fmt: skip
_STARTS = (Phase.STARTING, Phase.JOINING, Phase.LOADING, Phase.FAILED)


@dataclass(frozen=True)
class GroupStep:
    """What a unit is told. ``gate`` None leaves it as it is; ``takes``: a serving unit leaves the rotation."""

    unit: Group
    serve: WeightsArtifact | None
    staged: tuple[WeightsArtifact, ...] = ()
    gate: bool | None = None
    why: str = ""
    move: bool = False  # streams that still run are to be moved to other groups
    takes: bool = False
    hold: Explanation | None = None
    judgement: Verdict | None = None


def stand(unit: Group, scene: PlanState, *, ahead: WeightsArtifact | None = None) -> GroupStep:
    """The unit is left on the weights that it has; those ``ahead`` are staged beside them."""
    serve = scene.held(unit)
    if serve is None:
        return GroupStep(unit, None)
    step = _arrived(unit, serve, scene) if unit.has(serve) else GroupStep(unit, serve, (serve,), *_starting(unit))
    return replace(step, staged=_staged(ahead, serve, scene.kept if ahead else None))


def swap(unit: Group, aim: GroupTemplate, scene: PlanState, *, may_take: bool) -> GroupStep:
    """The next step towards the aim's weights. ``may_take``: a serving unit may leave the rotation for it."""
    step = _next(unit, aim, scene, may_take=may_take)
    step = replace(step, staged=_staged(aim.serve, step.serve, scene.held(unit), scene.kept))
    if step.takes and (desired_states(step, scene) or not unit.stagers_answer):  # what is said to be staged may not be
        text = f"group {unit.group.ordinal} is told to stage {aim.serve.weights.id}"
        hold = Explanation(Reason.STAGING_WEIGHTS, text, unit.group.ordinal)
        return replace(step, gate=None, why="", takes=False, hold=hold)
    return step


def _next(unit: Group, aim: GroupTemplate, scene: PlanState, *, may_take: bool) -> GroupStep:
    if unit.has(aim.serve):
        return _arrived(unit, aim.serve, scene)
    if unit.state is None:
        return GroupStep(unit, None)  # not heard: it is told nothing, and neither are its other stages
    staging = unit.staging(aim.digest, aim.spec.sharding.pipeline)
    if unit.open:
        return _in_rotation(unit, aim, staging, scene, may_take=may_take)
    if not unit.weights and not unit.exchanges:  # the engine is not there yet: it starts with whatever is wished
        return GroupStep(unit, aim.serve)
    return _out_of_rotation(unit, aim, staging, scene)


def _arrived(unit: Group, serve: WeightsArtifact, scene: PlanState) -> GroupStep:
    verdict = scene.judge(unit, serve)
    step = GroupStep(unit, serve, (serve,), judgement=verdict)
    if verdict.passed and unit.answers:
        text = f"{verdict.message}; it comes into rotation"
        waits = None if unit.serving else Explanation(Reason.VERIFYING, text, unit.group.ordinal)
        return replace(step, gate=True, why=verdict.message, hold=waits)
    if verdict.passed is False:
        # In rotation it has passed before: another prompt in the spec must not end the service. It is shown.
        stays = unit.open and verdict.reason is not Reason.DIGEST_DIFFERS
        hold = Explanation(verdict.reason, verdict.message, unit.group.ordinal)
        return replace(step, gate=None if stays else False, why=verdict.message, hold=hold)
    if not unit.answers or unit.verdict is None:
        gate, why = _starting(unit)
        waits = Explanation(verdict.reason, verdict.message, unit.group.ordinal) if unit.answers else None
        return replace(step, gate=gate, why=why, hold=waits)
    waits = None if unit.open else Explanation(verdict.reason, verdict.message, unit.group.ordinal)
    return replace(step, hold=waits)


def _starting(unit: Group) -> tuple[bool | None, str]:
    """An engine that has started again comes through the gate again; one that merely does not answer now keeps it."""
    state = unit.state
    if state is not None and (state.phase in _STARTS or (state.weights and state.measurement is None)):
        return False, "the engine has started again, and is asked before it gets requests"
    return None, ""


def _in_rotation(unit: Group, aim: GroupTemplate, staging: Staging, scene: PlanState, *, may_take: bool) -> GroupStep:
    serve, ordinal, wanted = scene.held(unit), unit.group.ordinal, aim.serve.weights.id
    if not unit.may_serve(scene.now) or _starting(unit)[0] is False:  # it answers nobody: nothing is taken away
        return GroupStep(unit, serve, gate=False, why=f"it does not answer, and takes {wanted}")
    if not staging.ready:
        return GroupStep(unit, serve, hold=staging_hold(unit, aim, staging))
    if not may_take or not unit.weights:
        text = f"group {ordinal} has {wanted} staged and waits for its turn on {unit.weights or 'what it has'}"
        return GroupStep(unit, serve, hold=Explanation(Reason.ROLLING_OUT, text, ordinal))
    text = f"group {ordinal} leaves the rotation to take {wanted}"
    return GroupStep(unit, serve, gate=False, why=text, takes=True, hold=Explanation(Reason.SWAPPING, text, ordinal))


def _out_of_rotation(unit: Group, aim: GroupTemplate, staging: Staging, scene: PlanState) -> GroupStep:
    ordinal, wanted = unit.group.ordinal, aim.serve.weights.id
    if unit.heading == aim.digest and unit.exchanges:
        return GroupStep(unit, aim.serve, hold=swap_hold(unit, wanted))
    if not staging.ready:
        back = stand(unit, scene)
        return replace(back, hold=back.hold or staging_hold(unit, aim, staging))
    held = held_by(unit, scene.world, scene.now)
    if held and not given_up(unit, aim.spec, scene.now):
        text = f"group {ordinal} is out of rotation to take {wanted} and ends its requests: {held}"
        hold, move = Explanation(Reason.SWAPPING, text, ordinal), overdue(unit, aim.spec, scene.now)
        return GroupStep(unit, scene.held(unit), gate=False if move else None, why=text, move=move, hold=hold)
    text = f"group {ordinal} takes {wanted} in place of {unit.weights or 'what it had'}"
    return GroupStep(unit, aim.serve, hold=Explanation(Reason.SWAPPING, text, ordinal))


def swap_hold(unit: Group, wanted: str) -> Explanation:
    """Where the exchange of a unit's weights stands."""
    swap, ordinal = unit.swap, unit.group.ordinal
    if swap and swap.outcome == "failed":
        text = f"group {ordinal} could not take {wanted}: {swap.message.rstrip('.')}"
        return Explanation(Reason.SWAP_FAILED, text, ordinal)
    return Explanation(Reason.SWAPPING, f"group {ordinal} exchanges its weights for {wanted}", ordinal)


def staging_hold(unit: Group, aim: GroupTemplate, staging: Staging) -> Explanation:
    """How far the next weights are on a unit's stages, or why they are refused."""
    ordinal, wanted = unit.group.ordinal, aim.serve.weights.id
    refused = staging.refused
    if refused:
        reason = _REFUSALS.get(refused.reason, Reason.WEIGHTS_REFUSED)
        text = f"group {ordinal} stage {staging.refused_stage} cannot stage {wanted}: {refused.message.rstrip('.')}"
        return Explanation(reason, text, ordinal)
    done = f", {_tenths(staging)}% of {staging.total} bytes" if staging.total else ""
    return Explanation(Reason.STAGING_WEIGHTS, f"group {ordinal} stages {wanted}{done}{_waits(staging)}", ordinal)


def _tenths(staging: Staging) -> int:
    """In steps of 10: the status is not written for each percent."""
    return min(staging.done * 10 // max(staging.total, 1), 10) * 10


def _waits(staging: Staging) -> str:
    return f"; {staging.message.rstrip('.')}" if staging.message and not staging.done else ""


def _staged(*wanted: WeightsArtifact | None) -> tuple[WeightsArtifact, ...]:
    """Without repetition, the most wanted first."""
    found: dict[str, WeightsArtifact] = {}
    for one in wanted:
        if one is not None:
            found.setdefault(one.weights.digest, one)
    return tuple(found.values())


# -- what is written --------------------------------------------------------------------------------------------------


def desired_states(step: GroupStep, scene: PlanState) -> tuple[PutDesiredState, ...]:
    """The wishes that the unit's stages do not hold yet."""
    if step.serve is None:
        return ()
    wish = DesiredState(serve=step.serve.weights, staged=step.staged, verify=scene.spec.verify.message())
    heard = ((pod, step.unit.states.get(pod.stage)) for pod in step.unit.pods if pod.alive and pod.ip)
    return tuple(PutDesiredState(pod.name, pod.ip, wish) for pod, state in heard if state and state.desired != wish.key)


def rotation_of(step: GroupStep) -> SetRotation | None:
    """The change of the gate, if there is one to be made."""
    pod = step.unit.leader
    if pod is None or not pod.alive or step.gate is None:
        return None
    if step.gate:
        if pod.ready and not pod.in_rotation:
            return None  # its kubelet has not seen the gate closed: that readiness would be taken for the new one
        weights = step.unit.weights
        return None if pod.in_rotation and pod.weights == weights else _set(pod, open_=True, step=step, weights=weights)
    if pod.in_rotation or (step.move and not pod.moving):
        return _set(pod, open_=False, step=step, weights="")
    return None


def _set(pod: PodView, *, open_: bool, step: GroupStep, weights: str) -> SetRotation:
    return SetRotation(pod.name, pod.uid, open_=open_, weights=weights, why=step.why, move=step.move)

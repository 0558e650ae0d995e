"""The next step of one group whose pods stay: which weights it is told to serve, and whether its gate is open.

Derived at each pass from what is seen, so that a pass that is lost, or an operator that is killed, changes nothing:

    serving other weights   stage the desired ones beside them; staged and allowed to be disrupted: close the gate
    gate closed             wait until the gateways have no request of it left, then: serve the desired ones
    having the desired ones judge what the leader measured: open the gate, or leave it closed and say why
    engine not there        serve the desired ones

A group whose next weights are not staged keeps, or gets back, the gate of those that it has. Before the gate opens
there is a verdict on exactly the weights that the engine has (verification.py).
"""

from dataclasses import dataclass, replace

from llama_operator.observe.pods import PodView
from llama_operator.plan.actions import Actions, PutDesiredState, SetRotation
from llama_operator.plan.adapters.steps import adapter_note, group_adapters, start_waits_for
from llama_operator.plan.groups.drain import drain_expired, overdue, requests_left
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.verification import Verdict
from llama_operator.plan.groups.weights_progress import explain_staging, explain_update
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as groups_sentences
from llama_operator.plan.sentences import weights as sentences
from llama_operator.plan.weights.source_places import credential_places
from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.config.reasons import Reason, StagingReason
from llama_serving.config.state import CellState, Phase

_STARTS = (Phase.STARTING, Phase.JOINING, Phase.LOADING, Phase.FAILED)


@dataclass(frozen=True)
class GroupStep:
    """What a group is told."""

    group: Group
    serve: WeightsArtifact | None
    staged: tuple[WeightsArtifact, ...] = ()
    gate: bool | None = None  # None leaves it as it is
    why: str = ""
    move: bool = False  # streams that still run are to be moved to other groups
    disrupts: bool = False  # a serving group leaves the rotation
    explanation: Explanation | None = None
    verdict: Verdict | None = None


def keep_weights(group: Group, state: PlanState, *, prefetch: WeightsArtifact | None = None) -> GroupStep:
    """Leave the group on the weights that it has; stage ``prefetch`` beside them."""
    serve = state.current_weights(group)
    if serve is None:
        return GroupStep(group, None)
    step = _loaded(group, serve, state) if group.has(serve) else GroupStep(group, serve, (serve,), *_restarted(group))
    return replace(step, staged=_staged(prefetch, serve, state.stable_weights if prefetch else None))


def update_in_place(group: Group, template: GroupTemplate, state: PlanState, *, may_disrupt: bool) -> GroupStep:
    """Take the next step towards the template's weights. ``may_disrupt``: a serving group may leave the rotation."""
    step = _next(group, template, state, may_disrupt=may_disrupt)
    step = replace(step, staged=_staged(template.serve, step.serve, state.current_weights(group), state.stable_weights))
    if step.disrupts and (desired_states(step, state) or not group.stagers_answer):
        # The stagers have not read the last desired state: what they call staged may be out of date.
        text = sentences.staging_asked(group.id.ordinal, template.serve.weights.id)
        explanation = Explanation(Reason.STAGING_WEIGHTS, text, group.id.ordinal)
        return replace(step, gate=None, why="", disrupts=False, explanation=explanation)
    return step


def _next(group: Group, template: GroupTemplate, state: PlanState, *, may_disrupt: bool) -> GroupStep:
    if group.has(template.serve):
        return _loaded(group, template.serve, state)
    if group.state is None:
        return GroupStep(group, None)  # not heard: it is told nothing, and neither are its other stages
    if group.in_rotation:
        return _in_rotation(group, template, state, may_disrupt=may_disrupt)
    if not group.weights and not group.updating:  # the engine is not there yet: it starts with what is desired
        return GroupStep(group, template.serve)
    return _out_of_rotation(group, template, state)


def _loaded(group: Group, serve: WeightsArtifact, state: PlanState) -> GroupStep:
    verdict = state.judge(group, serve)
    step = GroupStep(group, serve, (serve,), verdict=verdict)
    judged = Explanation(verdict.reason, verdict.message, group.id.ordinal)
    if verdict.passed and group.answers:
        late = "" if group.in_rotation else start_waits_for(group, state)
        if late:
            return replace(step, explanation=Explanation(Reason.VERIFYING, late, group.id.ordinal))
        text = groups_sentences.back_in_rotation(verdict.message)
        waits = None if group.serving else Explanation(Reason.VERIFYING, text, group.id.ordinal)
        return replace(step, gate=True, why=verdict.message, explanation=waits)
    if verdict.passed is False:
        # In rotation it has passed before: another prompt in the spec must not end the service. It is shown.
        stays = group.in_rotation and verdict.reason is not Reason.DIGEST_DIFFERS
        return replace(step, gate=None if stays else False, why=verdict.message, explanation=judged)
    if not group.answers or group.measurement is None:
        gate, why = _restarted(group)
        return replace(step, gate=gate, why=why, explanation=judged if group.answers else None)
    return replace(step, explanation=None if group.in_rotation else judged)


def _restarted(group: Group) -> tuple[bool | None, str]:
    """Close the gate of an engine that has started again; one that merely does not answer now keeps it."""
    cell = group.state
    if cell is not None and (cell.phase in _STARTS or (cell.weights and cell.measurement is None)):
        return False, groups_sentences.engine_restarted()
    return None, ""


def _in_rotation(group: Group, template: GroupTemplate, state: PlanState, *, may_disrupt: bool) -> GroupStep:
    serve, ordinal, weights = state.current_weights(group), group.id.ordinal, template.serve.weights.id
    if not group.may_serve(state.now) or _restarted(group)[0] is False:  # it answers nobody: nothing is disrupted
        return GroupStep(group, serve, gate=False, why=sentences.engine_silent(weights))
    staging = group.staging(template.digest, template.spec.sharding.pipeline)
    if not staging.ready:
        return GroupStep(group, serve, explanation=explain_staging(group, template, staging))
    if not may_disrupt or not group.weights:
        text = sentences.swap_awaits_turn(ordinal, weights, serves=group.weights)
        return GroupStep(group, serve, explanation=Explanation(Reason.ROLLING_OUT, text, ordinal))
    text = sentences.swap_out_of_rotation(ordinal, weights)
    explanation = Explanation(Reason.SWAPPING, text, ordinal)
    return GroupStep(group, serve, gate=False, why=text, disrupts=True, explanation=explanation)


def _out_of_rotation(group: Group, template: GroupTemplate, state: PlanState) -> GroupStep:
    ordinal, weights = group.id.ordinal, template.serve.weights.id
    if group.target_digest == template.digest and group.updating:
        return GroupStep(group, template.serve, explanation=explain_update(group, weights))
    staging = group.staging(template.digest, template.spec.sharding.pipeline)
    if not staging.ready:
        back = keep_weights(group, state)
        return replace(back, explanation=back.explanation or explain_staging(group, template, staging))
    left = requests_left(group, state.snapshot, state.now)
    if left and not drain_expired(group, template.spec, state.snapshot, now=state.now):
        text = sentences.swap_drains(ordinal, weights, held=left)
        explanation = Explanation(Reason.SWAPPING, text, ordinal)
        move = overdue(group, template.spec, state.snapshot, now=state.now)
        gate, serve = (False if move else None), state.current_weights(group)
        return GroupStep(group, serve, gate=gate, why=text, move=move, explanation=explanation)
    text = sentences.swap_begins(ordinal, weights, before=group.weights)
    return GroupStep(group, template.serve, explanation=Explanation(Reason.SWAPPING, text, ordinal))


def _staged(*artifacts: WeightsArtifact | None) -> tuple[WeightsArtifact, ...]:
    """Drop repetitions; the first is staged first."""
    found: dict[str, WeightsArtifact] = {}
    for one in artifacts:
        if one is not None:
            found.setdefault(one.weights.digest, one)
    return tuple(found.values())


def step_actions(step: GroupStep, state: PlanState) -> Actions:
    """Return what has to be written for the step: desired states, the gate, and what was verified."""
    states, change = desired_states(step, state), rotation_change(step)
    leader, measured = step.group.leader, step.group.measurement
    asked = leader is not None and leader.name not in {item.pod for item in states}  # what the spec asks now
    passed = step.verdict is not None and bool(step.verdict.passed)
    note = adapter_note(step.group, state)
    return Actions(
        rotations=(change,) if change else (),
        adapters=(note,) if note else (),
        desired_states=states,
        verified=(measured,) if measured and passed and asked else (),
    )


def desired_states(step: GroupStep, state: PlanState) -> tuple[PutDesiredState, ...]:
    """Return the desired states that the group's stages do not have yet."""
    if step.serve is None:
        return ()
    desired = DesiredState(
        serve=step.serve.weights,
        staged=step.staged,
        verify=state.spec.verify.message(),
        adapters=group_adapters(step.group, state, digest=step.serve.weights.digest),
    )
    places = credential_places(desired, secret=state.spec.model.credentials_secret, adapters=state.snapshot.adapters)
    heard = ((pod, step.group.states.get(pod.stage)) for pod in step.group.pods if pod.alive and pod.ip)
    return tuple(
        PutDesiredState(pod.name, pod.ip, desired, places)
        for pod, cell in heard
        if cell and (cell.desired != desired.key or _lacks_signature(cell))
    )


def _lacks_signature(cell: CellState) -> bool:
    """Return whether a stager did not take the desired state that its supervisor has: it must be signed anew."""
    staging = cell.staging
    return staging is not None and any(
        one.reason == StagingReason.NOT_SIGNED for one in (*staging.weights, *staging.adapters)
    )


def rotation_change(step: GroupStep) -> SetRotation | None:
    """Return the change of the gate, if there is one to be made."""
    pod = step.group.leader
    if pod is None or not pod.alive or step.gate is None:
        return None
    if step.gate:
        if pod.ready and not pod.in_rotation:
            return None  # its kubelet has not seen the gate closed: that readiness would be taken for the new one
        weights = step.group.weights
        return None if pod.in_rotation and pod.weights == weights else _set(pod, step, open_=True, weights=weights)
    if pod.in_rotation or (step.move and not pod.moving):
        return _set(pod, step, open_=False, weights="")
    return None


def _set(pod: PodView, step: GroupStep, *, open_: bool, weights: str) -> SetRotation:
    return SetRotation(pod.name, pod.uid, open_=open_, weights=weights, why=step.why, move=step.move)

"""One pass of one LlamaDeployment: ``plan(snapshot, settings, now)``; pure, so that it can be tried on any world.

1. look at the model (no device) until it is accepted, and check the layout against it
2. bring every group to the present revision, whole
3. open the rotation of leaders whose engine answers, close that of leaders that leave
4. say why anything waits
"""

from dataclasses import replace
from datetime import datetime

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe import PodView, Snapshot
from llama_operator.plan.explain import explain_gateway, explain_group
from llama_operator.plan.groups import GroupSteps, Wish, group_steps, retire_surplus
from llama_operator.plan.inspection import inspect_model
from llama_operator.plan.layout import check_layout
from llama_operator.plan.model import Plan, SetRotation
from llama_operator.plan.naming import GroupId, inspector_name
from llama_operator.plan.reasons import Hold, Reason
from llama_operator.plan.revision import inspector_key_of, model_key_of, revision_of
from llama_operator.plan.settings import Settings
from llama_serving.config.state import Phase

SOON = 1.0  # seconds between passes while something starts or leaves: cells send no events
LATER = 15.0  # and while all serve: a cell that stops serving shows in its pod's readiness, which is an event


def plan(world: Snapshot, settings: Settings, now: datetime) -> Plan:
    """What to do now. A deployment that is being deleted gets an empty plan: owner references do the rest."""
    if world.deleting:
        return Plan(revision="")
    if world.spec is None:
        hold = Hold(Reason.SPEC_INVALID, world.spec_error)
        return Plan(revision="", keep=_all_groups(world), holds=(hold,), recheck=LATER)
    return _plan(world, world.spec, settings, now)


def _plan(world: Snapshot, spec: LlamaDeploymentSpec, settings: Settings, now: datetime) -> Plan:
    revision = revision_of(spec, settings)
    inspector = inspector_name(world.key.name, inspector_key_of(spec, settings))
    inspection = inspect_model(world, model_key_of(spec), inspector, now)
    facts = inspection.look.facts
    refused = check_layout(spec, facts) if facts else ()
    wish = Wish(world.key.name, revision, spec.replicas, spec.sharding.pipeline)
    accepted = facts is not None and not refused
    steps = group_steps(world, wish, now) if accepted else _stand_still(world, wish, now)
    rotations = _rotations(world, steps)
    waits = _group_waits(world, wish if accepted else replace(wish, stages=0), steps, now)
    holds = inspection.holds + refused + steps.holds + waits + explain_gateway(world)
    groups = tuple(GroupId(world.key.name, ordinal, revision) for ordinal in range(spec.replicas))
    return Plan(
        revision=revision,
        groups=groups if accepted else (),
        keep=steps.keep,
        creates=steps.creates,
        deletes=inspection.deletes + steps.deletes,
        rotations=rotations,
        inspect=inspection.create,
        look=inspection.look,
        holds=holds,
        recheck=SOON if holds else LATER,
    )


def _stand_still(world: Snapshot, wish: Wish, now: datetime) -> GroupSteps:
    """The wanted model is not accepted: what serves goes on serving; surplus groups still leave."""
    return retire_surplus(world, wish, now) + GroupSteps(keep=_all_groups(world))


def _all_groups(world: Snapshot) -> tuple[GroupId, ...]:
    return tuple(sorted({GroupId(world.key.name, pod.group, pod.revision) for pod in world.stages}))


def _rotations(world: Snapshot, steps: GroupSteps) -> tuple[SetRotation, ...]:
    changes = (_rotation(pod, world, pod.name in steps.retiring) for pod in world.stages if pod.stage == 0)
    return tuple(change for change in changes if change)


def _rotation(pod: PodView, world: Snapshot, retiring: bool) -> SetRotation | None:
    if retiring or not pod.alive:
        if pod.in_rotation:
            return SetRotation(pod.name, pod.uid, open_=False, weights="", why="the group leaves")
        return None
    answer = world.cells.get(pod.name)
    state = answer.state if answer else None
    if state is None or state.phase is not Phase.SERVING or not state.ready:
        return None  # the pod's own readiness keeps requests away; the gate stays as it is
    if pod.in_rotation and pod.weights == state.weights:
        return None
    return SetRotation(pod.name, pod.uid, open_=True, weights=state.weights, why="the engine answers")


def _group_waits(world: Snapshot, wish: Wish, steps: GroupSteps, now: datetime) -> tuple[Hold, ...]:
    explained = {hold.group for hold in steps.holds}
    waits = []
    for ordinal in range(wish.replicas):
        pods = tuple(pod for pod in world.stages if pod.group == ordinal)
        if ordinal not in explained and (hold := explain_group(ordinal, pods, wish.stages, world, now)):
            waits.append(hold)
    return tuple(waits)

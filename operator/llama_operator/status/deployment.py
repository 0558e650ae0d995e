"""Status says what was seen: computed from the snapshot by one function, written once per pass, only if it differs.

The plan adds only the reasons why something waits. Available: at least one group and one gateway answer. Progressing:
something is on its way without anybody's help. Degraded: somebody has to act, the message says on what. At zero groups
it is available where autoscaling starts one for the first request, and is not where ``spec.replicas`` is 0.
"""

from dataclasses import replace
from datetime import datetime

from llama_operator.api import (
    AutoscalingStatus,
    Condition,
    GroupStatus,
    LlamaDeploymentStatus,
    ModelFactsStatus,
    ModelStatus,
)
from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan.explain import gateways_ready
from llama_operator.plan.groups.steps import is_serving
from llama_operator.plan.naming import GroupId
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import FAILURES, Explanation, Reason, most_severe
from llama_operator.ports import KubeEvent
from llama_serving.config import names

LONGEST = 2000  # characters of a sentence: the API server refuses a condition with a very long one

SERVING, STARTING, PENDING = "Serving", "Starting", "Pending"
DRAINING, REBUILDING, FAILED = "Draining", "Rebuilding", "Failed"
SWAPPING, VERIFYING = "Swapping", "Verifying"

_STATES = {
    Reason.REPLACING: DRAINING,
    Reason.SCALING_DOWN: DRAINING,
    Reason.POD_LOST: REBUILDING,
    Reason.UNSCHEDULABLE: PENDING,
    Reason.WAITING_FOR_ROOM: PENDING,
    Reason.POD_STARTING: PENDING,
    Reason.STAGING_WEIGHTS: STARTING,
    Reason.SWAPPING: SWAPPING,
    Reason.VERIFYING: VERIFYING,
}


def report(world: Snapshot, plan: Plan, problems: tuple[Explanation, ...], now: datetime) -> LlamaDeploymentStatus:
    """The status to write after this pass. ``problems`` are what the API server said to our writes."""
    moment = now.replace(microsecond=0)
    holds = tuple(replace(hold, detail=hold.detail[:LONGEST]) for hold in problems + plan.holds)
    first = most_severe(holds) or _rest(world, plan)
    groups = _groups(world, plan, holds, moment)
    serving = [group for group in groups if group.state == SERVING]
    wished = len(groups) if plan.replicas is None else plan.replicas
    return LlamaDeploymentStatus(
        observed_generation=world.generation,
        replicas=len({group.ordinal for group in groups}),
        ready_replicas=len(serving),
        groups_ready=f"{len(serving)}/{wished}",
        selector=f"{names.LABEL_DEPLOYMENT}={world.key.name},{names.LABEL_STAGE}=0",
        weights=", ".join(sorted({group.weights for group in serving if group.weights})),
        reason=first.reason,
        message=first.detail,
        model=_model(world, plan),
        groups=groups,
        rollout=plan.memory.rollout,
        history=plan.memory.history,
        stable=plan.memory.stable,
        baselines=plan.memory.baselines,
        autoscaling=plan.memory.autoscaling,
        requeues=plan.memory.requeues,
        default_images=plan.memory.default_images,
        conditions=_conditions(world, plan, first, holds, groups, moment),
    )


def notices(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> tuple[KubeEvent, ...]:
    """Events of what changed between two statuses: a group's state, and the first thing to look at."""
    states = {group.name: group.state for group in before.groups}
    changed = [group for group in after.groups if states.get(group.name) != group.state]
    found = [
        KubeEvent(
            warning=group.state in (FAILED, REBUILDING),
            reason=group.reason or group.state,
            message=f"group {group.ordinal} is {group.state}: {group.message}",
        )
        for group in changed
    ]
    found += _rollout_notices(before, after)
    found += _verify_notices(before, after)
    found += _scaling_notices(before.autoscaling, after.autoscaling)
    if before.reason != after.reason:
        found.append(KubeEvent(warning=after.reason in FAILURES, reason=after.reason, message=after.message))
    return tuple(found)


def _rollout_notices(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    """The begin of a rollout with what it will take, and each turn that it takes."""
    old, new = before.rollout, after.rollout
    if new is None or (old and (old.key, old.phase, old.started) == (new.key, new.phase, new.started)):
        return []
    if new.phase == "RollingOut":
        plan = "; ".join((new.preview.why, *new.preview.steps))
        return [KubeEvent(False, Reason.ROLLING_OUT, f"{new.to} in place of {new.before}: {plan}")]
    turned = new.phase in ("RollingBack", "Held")
    word = Reason.ROLLING_BACK if new.phase == "RollingBack" else (new.reason or "RolloutDone")
    return [KubeEvent(turned, word, f"rollout of {new.to}: {new.phase}, {new.message}")]


def _scaling_notices(before: AutoscalingStatus | None, after: AutoscalingStatus | None) -> list[KubeEvent]:
    """Every change of the number of groups, with why."""
    if before is None or after is None or before.target == after.target:
        return []
    word = "ScaledUp" if after.target > before.target else "ScaledDown"
    return [KubeEvent(False, word, f"{before.target} to {after.target} group(s): {after.message}")]


def _verify_notices(before: LlamaDeploymentStatus, after: LlamaDeploymentStatus) -> list[KubeEvent]:
    """What was measured of a group's weights, when it was measured anew."""
    known = {group.name: group.verify for group in before.groups}
    fresh = [group for group in after.groups if group.verify and group.verify != known.get(group.name)]
    return [
        KubeEvent(
            not group.verify.passed, "Verified" if group.verify.passed else Reason.VERIFY_FAILED, group.verify.message
        )
        for group in fresh
        if group.verify
    ]


def _rest(world: Snapshot, plan: Plan) -> Explanation:
    """Nothing waits: all groups serve, or none is wanted."""
    if plan.replicas != 0:
        return Explanation(Reason.SERVING, _serving_sentence(world))
    if plan.scaling:
        text = "no group is wanted: the gateways hold requests, and the first of them starts one"
        return Explanation(Reason.SCALED_TO_ZERO, text)
    text = (
        "spec.replicas is 0, so no group is wanted: the gateways hold requests until one serves or their time is over"
    )
    return Explanation(Reason.SCALED_TO_ZERO, text)


def _serving_sentence(world: Snapshot) -> str:
    groups = {pod.group for pod in world.stages if is_serving(pod)}
    nodes = {pod.node for pod in world.stages if pod.group in groups}
    return f"{len(groups)} group(s) serve from {len(nodes)} node(s)"


def _groups(world: Snapshot, plan: Plan, holds: tuple[Explanation, ...], moment: datetime) -> tuple[GroupStatus, ...]:
    seen: dict[GroupId, list[PodView]] = {}
    for pod in world.stages:
        seen.setdefault(GroupId(world.key.name, pod.group, pod.pod_hash), []).append(pod)
    before = {group.name: group for group in world.status.groups}
    ordered = sorted(seen.items(), key=lambda item: (item[0].ordinal, item[0].pod_hash))
    return tuple(_group(group, tuple(pods), plan, holds, before.get(group.name), moment) for group, pods in ordered)


def _group(
    group: GroupId,
    pods: tuple[PodView, ...],
    plan: Plan,
    holds: tuple[Explanation, ...],
    before: GroupStatus | None,
    moment: datetime,
) -> GroupStatus:
    hold = most_severe(tuple(hold for hold in holds if hold.group == group.ordinal))
    leader = next((pod for pod in pods if pod.stage == 0), None)
    state = SERVING if leader and is_serving(leader) else _state(hold)
    since = before.since if before and before.state == state and before.since else moment
    return GroupStatus(
        ordinal=group.ordinal,
        name=group.name,
        pod_hash=group.pod_hash,
        state=state,
        reason=hold.reason if hold else (Reason.SERVING if state == SERVING else Reason.POD_STARTING),
        message=hold.detail if hold else ("the engine answers" if state == SERVING else ""),
        nodes=tuple(pod.node for pod in pods),
        weights=leader.weights if leader else "",
        verify=plan.verdicts.get(group.name),
        since=since,
    )


def _state(hold: Explanation | None) -> str:
    if hold is None:
        return STARTING
    return _STATES.get(hold.reason) or (FAILED if hold.reason in FAILURES else STARTING)


def _model(world: Snapshot, plan: Plan) -> ModelStatus | None:
    view = plan.model
    if world.spec is None:
        return world.status.model
    if view is None:
        return ModelStatus(key="", reason=Reason.INSPECTING_MODEL, message="not looked at yet")
    if view.facts is not None and not view.refused:
        facts = ModelFactsStatus.model_validate(view.facts.model_dump())
        text = f"{facts.architecture} of {facts.layers} layers, {facts.files} files, {facts.bytes} bytes"
        return ModelStatus(key=view.name, outcome="accepted", reason="Accepted", message=text, facts=facts)
    if view.refused:
        return ModelStatus(key=view.name, outcome="refused", reason=view.reason, message=view.message[:LONGEST])
    return ModelStatus(key=view.name, reason=Reason.INSPECTING_MODEL, message="not looked at yet")


def _conditions(
    world: Snapshot,
    plan: Plan,
    first: Explanation,
    holds: tuple[Explanation, ...],
    groups: tuple[GroupStatus, ...],
    moment: datetime,
) -> tuple[Condition, ...]:
    ready, asked = gateways_ready(world)
    serving = sum(group.state == SERVING for group in groups)
    wished = len(groups) if plan.replicas is None else plan.replicas
    idle = wished == 0 and plan.scaling is not None  # as asked: the first request starts a group
    available = ready > 0 and (serving > 0 or idle)
    failure = most_severe(tuple(hold for hold in holds if hold.reason in FAILURES))
    waits = most_severe(tuple(hold for hold in holds if hold.reason not in FAILURES))
    done = Explanation(Reason.SERVING, f"{serving} of {wished} groups serve, {ready} of {asked} gateways are ready")
    done = done if wished else _rest(world, plan)
    verdicts = (
        ("Available", available, done if available else first),
        ("Degraded", failure is not None, failure or done),
        ("Progressing", waits is not None, waits or first),
    )
    before = {condition.type: condition for condition in world.status.conditions}
    return tuple(
        _condition(kind, value, hold, before.get(kind), world.generation, moment) for kind, value, hold in verdicts
    )


def _condition(
    kind: str, value: bool, hold: Explanation, before: Condition | None, generation: int, moment: datetime
) -> Condition:
    status = "True" if value else "False"
    since = before.last_transition_time if before and before.status == status else moment
    return Condition(
        type=kind,
        status=status,
        reason=hold.reason,
        message=hold.detail,
        last_transition_time=since,
        observed_generation=generation,
    )

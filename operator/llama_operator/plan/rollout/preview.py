"""What a rollout will take, for its user to read before the first step: steps, devices, capacity and time."""

from llama_operator.api import CPU
from llama_operator.api.v1alpha1.status import RolloutPreview
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.rollout.strategy import Choice
from llama_serving.config.wording import plural


def preview_rollout(choice: Choice, template: GroupTemplate, before: str, *, state: PlanState) -> RolloutPreview:
    """Say what the rollout of the template will take. ``before``: what groups go back to when it fails."""
    if not choice.strategy:
        return RolloutPreview(why=choice.why)
    rollout, replicas = state.spec.rollout, state.spec.replicas
    surging = choice.strategy == "surge"
    surge, down = (min(rollout.max_surge, replicas), 0) if surging else (0, min(rollout.max_unavailable, replicas))
    each = _measured_seconds(choice.strategy, state.groups)
    rounds = -(-replicas // max(surge or down, 1))
    watch = rollout.canary.seconds if rollout.canary.groups else 0
    return RolloutPreview(
        strategy=choice.strategy,
        why=choice.why,
        steps=(*_steps(choice.strategy, template, state), f"a failure puts all groups back on {before}"),
        extra_devices=surge * _devices(template),
        lowest_capacity=f"{replicas - down} of {replicas}",
        seconds=None if each is None else round(rounds * (each + rollout.min_ready_seconds)) + watch,
    )


def _devices(template: GroupTemplate) -> int:
    """Count the devices of one group; a stage on CPUs counts as one."""
    device = template.spec.device
    return template.spec.sharding.pipeline * (1 if device.resource == CPU else device.count)


def _steps(strategy: str, template: GroupTemplate, state: PlanState) -> list[str]:
    rollout, replicas, weights = state.spec.rollout, state.spec.replicas, template.serve.weights.id
    which = _which([ordinal for ordinal in state.ordinals if ordinal >= rollout.partition])
    at_once = rollout.max_surge if strategy == "surge" else rollout.max_unavailable
    steps = [f"stage {weights} beside what serves, and verify it"] if strategy == "inPlace" else []
    if rollout.canary.groups:
        groups, them = plural(rollout.canary.groups, "group"), "it" if rollout.canary.groups == 1 else "them"
        steps.append(f"change {groups} first and watch {them} for {rollout.canary.seconds} s")
    sentence = {
        "inPlace": f"{which}, {at_once} at a time: out of rotation, requests end, load the weights, verify, back",
        "surge": f"{which}, up to {at_once} at a time: start a new group, verify it, then drain the old one",
        "drain": f"{which}, {at_once} at a time: drain the old group, start the new one, verify it",
    }[strategy]
    steps.append(sentence)
    if strategy != "surge" and replicas == 1:
        steps.append("there is one group only: its requests wait in the gateway meanwhile")
    return steps


def _which(ordinals: list[int]) -> str:
    if not ordinals:
        return "the next groups"
    if len(ordinals) == 1:
        return f"group {ordinals[0]}"
    if ordinals[-1] - ordinals[0] == len(ordinals) - 1:
        return f"groups {ordinals[0]} to {ordinals[-1]}"
    return f"groups {', '.join(str(ordinal) for ordinal in ordinals)}"


def _measured_seconds(strategy: str, groups: tuple[Group, ...]) -> float | None:
    """Return the longest of one group: swap and verification, or start; None before anything was measured."""
    states = [group.state for group in groups if group.state]
    if strategy == "inPlace":
        swaps = [state.swap.seconds for state in states if state.swap and state.swap.outcome == "done"]
        checks = [state.measurement.seconds for state in states if state.measurement]
        return max(swaps) + max(checks, default=0) if swaps else None
    starts = [sum(state.timings.values()) for state in states if state.timings]
    return max(starts) if starts else None

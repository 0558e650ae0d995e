"""What a rollout will take, for its user to read before the first step: steps, devices, capacity and time."""

from llama_operator.api import CPU
from llama_operator.api.v1alpha1.status import RolloutPreview
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.rollout.durations import measured_seconds
from llama_operator.plan.rollout.strategy import Choice
from llama_operator.plan.sentences import rollout as sentences

_STEPS = {"inPlace": sentences.step_in_place, "surge": sentences.step_surge, "drain": sentences.step_drain}


def preview_rollout(choice: Choice, template: GroupTemplate, before: str, *, state: PlanState) -> RolloutPreview:
    """Say what the rollout of the template will take. ``before``: what groups go back to when it fails."""
    if not choice.strategy:
        return RolloutPreview(why=choice.why)
    rollout, replicas = state.spec.rollout, state.spec.replicas
    surging = choice.strategy == "surge"
    surge, down = (min(rollout.max_surge, replicas), 0) if surging else (0, min(rollout.max_unavailable, replicas))
    each = measured_seconds(choice.strategy, state.groups)
    rounds = -(-replicas // max(surge or down, 1))
    watch = rollout.canary.seconds if rollout.canary.groups else 0
    return RolloutPreview(
        strategy=choice.strategy,
        why=choice.why,
        steps=(*_steps(choice.strategy, template, state), sentences.step_failure(before)),
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
    which = sentences.some_groups([ordinal for ordinal in state.ordinals if ordinal >= rollout.partition])
    at_once = rollout.max_surge if strategy == "surge" else rollout.max_unavailable
    steps = [sentences.step_stage(weights)] if strategy == "inPlace" else []
    if rollout.canary.groups:
        steps.append(sentences.step_canary(groups=rollout.canary.groups, seconds=rollout.canary.seconds))
    steps.append(_STEPS[strategy](which, at_once=at_once))
    if strategy != "surge" and replicas == 1:
        steps.append(sentences.step_only_group())
    return steps

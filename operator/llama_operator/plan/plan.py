"""The result of one pass: what to do, what to write into the status, and when to look again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llama_operator.api import AdapterLimitsStatus, ModelSpec, ServedAdapterStatus
from llama_operator.api.v1alpha1.edge.access_status import AccessStatus
from llama_operator.api.v1alpha1.status import AdapterCanaryStatus, GroupVerdict
from llama_operator.observe.deployment import WeightsView
from llama_operator.plan.actions import Actions
from llama_operator.plan.autoscaling.memory import ScalingResult
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rehearsal.rehearsal import Rehearsal


@dataclass(frozen=True)
class Plan:
    """One pass. Empty actions and no explanation mean that everything is as the spec wants it."""

    actions: Actions = field(default_factory=Actions)
    models: tuple[ModelSpec, ...] = ()  # whose LlamaWeights this deployment wants to be there
    releases: tuple[WeightsView, ...] = ()  # LlamaWeights that it has owned and does not need any more
    rehearsal: Rehearsal | None = None  # what a rollout waits for before its first step
    weights: WeightsView | None = None  # the LlamaWeights of the present spec
    adapters: tuple[ServedAdapterStatus, ...] = ()  # how far the LoRA adapters are
    adapter_limits: AdapterLimitsStatus | None = None  # room for them in each engine
    adapter_canaries: tuple[AdapterCanaryStatus, ...] = ()  # new versions that one group has first
    access: AccessStatus | None = None  # what was found of keys
    exposed: tuple[str, ...] = ()  # kinds of objects that lead to the gateways from outside
    persisted: Persisted = field(default_factory=Persisted)
    verdicts: Mapping[str, GroupVerdict] = field(default_factory=dict)  # by the group's name
    explanations: tuple[Explanation, ...] = ()  # why anything waits
    replicas: int | None = None  # groups that are wanted; None where the spec cannot be read
    scaling: ScalingResult | None = None  # None: the spec does not ask for autoscaling
    recheck: float = 30.0  # seconds until the next pass without an event

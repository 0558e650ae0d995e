"""What every deployment is like: its groups, its rollout, its devices, and how its passes go."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, get_args

from llama_operator.api.v1alpha1.status import RolloutStatus
from llama_operator.metrics.registry import LABELS, DeploymentRecord, OperatorState
from llama_operator.status.states import STATES
from llama_serving.config.metrics import Metric, Samples, Value

PHASES: Final[tuple[str, ...]] = get_args(RolloutStatus.model_fields["phase"].annotation)

_CAUSES: Final = ("retry", "timeout", "bug")


def _seen(state: OperatorState) -> Iterator[DeploymentRecord]:
    return (one for one in state.deployments.deployments() if one.status is not None)


def _gauge(name: str, help_text: str, value: Callable[[DeploymentRecord], int | None]) -> Metric[OperatorState]:
    """Make a gauge with one value a deployment; None has no sample."""

    def read(state: OperatorState) -> Samples:
        found = ((one.labels, value(one)) for one in _seen(state))
        return [(labels, number) for labels, number in found if number is not None]

    return Metric(f"llama_operator_{name}", "gauge", help_text, read, labels=LABELS)


def _gauges(
    name: str, help_text: str, label: str, *, values: Callable[[DeploymentRecord], Mapping[str, float]]
) -> Metric[OperatorState]:
    """Make a gauge with a value for each value of a label."""

    def read(state: OperatorState) -> Samples:
        return [((*one.labels, key), value) for one in _seen(state) for key, value in values(one).items()]

    return Metric(f"llama_operator_{name}", "gauge", help_text, read, labels=(*LABELS, label))


def _counters(
    name: str,
    help_text: str,
    label: str,
    *,
    values: Callable[[DeploymentRecord], Mapping[str, int]],
    known: Iterable[str],
) -> Metric[OperatorState]:
    """Make a counter for each value of a label; the known ones begin at 0, so that a first increase is seen."""
    zero: Mapping[str, int] = dict.fromkeys(known, 0)

    def read(state: OperatorState) -> Samples:
        return [
            ((*one.labels, key), count)
            for one in state.deployments.deployments()
            for key, count in {**zero, **values(one)}.items()
        ]

    return Metric(f"llama_operator_{name}_total", "counter", help_text, read, labels=(*LABELS, label))


def _single(read: Callable[[DeploymentRecord], Value]) -> Callable[[OperatorState], Samples]:
    return lambda state: [(one.labels, read(one)) for one in state.deployments.deployments()]


def _states(one: DeploymentRecord) -> Mapping[str, float]:
    groups = one.status.groups if one.status else ()
    return {state: sum(group.state == state for group in groups) for state in STATES}


def _phases(one: DeploymentRecord) -> Mapping[str, float]:
    rollout = one.status.rollout if one.status else None
    return {phase: int(rollout is not None and rollout.phase == phase) for phase in PHASES}


def _conditions(one: DeploymentRecord) -> Mapping[str, float]:
    return {found.type: int(found.status == "True") for found in one.status.conditions} if one.status else {}


def _keys(one: DeploymentRecord) -> Mapping[str, float]:
    found = one.status.access if one.status else None
    if found is None or found.mode != "keys":
        return {}
    return {"ready": found.keys_ready, "expired": found.keys_expired, "refused": found.keys_refused}


def _reason(one: DeploymentRecord) -> Mapping[str, float]:
    return {one.status.reason: 1} if one.status else {}


DEPLOYMENTS: Final[tuple[Metric[OperatorState], ...]] = (
    _gauge("groups_wanted", "Groups that are wanted: of replicas, or of autoscaling", lambda one: one.wanted),
    _gauge("groups_ready", "Groups that get requests", lambda one: one.status.ready_replicas if one.status else None),
    _gauge("groups_in_rotation", "Groups whose rotation gate is open", lambda one: one.in_rotation),
    _gauges("groups", "Groups by state", "state", values=_states),
    _gauge("gateways_wanted", "Gateway pods that are asked for", lambda one: one.gateways_wanted),
    _gauge("gateways_ready", "Gateway pods that answer", lambda one: one.gateways_ready),
    _gauges(
        "devices", "Devices, or CPU cores, that stage pods on nodes hold", "resource", values=lambda one: one.devices
    ),
    _gauges("condition", "1 when the condition is True, else 0", "condition", values=_conditions),
    _gauges("reason", "Always 1; the label says what the deployment waits for, or Serving", "reason", values=_reason),
    _gauges("access_keys", "Keys of spec.access by state: ready, expired, refused", "state", values=_keys),
    _gauges("rollout_phase", "1 for the phase of the present or last rollout, else 0", "phase", values=_phases),
    _counters("rollouts", "Phases that rollouts have reached", "phase", values=lambda one: one.phases, known=PHASES),
    Metric(
        "llama_operator_restarts_total",
        "counter",
        "Restarts of containers of stage pods",
        _single(lambda one: one.restarts),
        labels=LABELS,
    ),
    Metric(
        "llama_operator_pass_seconds",
        "histogram",
        "Duration of a pass over the deployment",
        _single(lambda one: one.passes),
        labels=LABELS,
    ),
    _counters(
        "pass_failures",
        "Passes that failed, by cause: retry (the API server could not do it then), timeout, bug",
        "cause",
        values=lambda one: one.failures,
        known=_CAUSES,
    ),
    _counters(
        "write_failures",
        "Writes that did not succeed: ApiRejected or ApiRetry",
        "reason",
        values=lambda one: one.refused,
        known=("ApiRejected", "ApiRetry"),
    ),
)

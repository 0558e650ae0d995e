"""What autoscaling decides, for the deployments that ask for it."""

from collections.abc import Callable
from typing import Final

from llama_operator.autoscaler_registry import AutoscaledDeployment
from llama_operator.metrics.registry import LABELS, OperatorState
from llama_serving.config.metrics import Metric, Samples

_PREFIX: Final = "llama_operator_autoscaling"


def _gauge(name: str, help_text: str, value: Callable[[AutoscaledDeployment], int]) -> Metric[OperatorState]:
    """Make a gauge with one value a deployment."""

    def read(state: OperatorState) -> Samples:
        return [((one.key.namespace, one.key.name), value(one)) for one in state.autoscalers.deployments()]

    return Metric(f"{_PREFIX}_{name}", "gauge", help_text, read, labels=LABELS)


def _shares(state: OperatorState) -> Samples:
    return [
        ((one.key.namespace, one.key.name, window), kept.share)
        for one in state.autoscalers.deployments()
        if one.last.memory.learner
        for window, kept in (("hour", one.last.memory.learner.kept.hour), ("day", one.last.memory.learner.kept.day))
        if kept.share is not None
    ]


def _reasons(state: OperatorState) -> Samples:
    return [((one.key.namespace, one.key.name, one.last.reason), 1) for one in state.autoscalers.deployments()]


def _decisions(state: OperatorState) -> Samples:
    return [
        ((one.key.namespace, one.key.name, direction), count)
        for one in state.autoscalers.deployments()
        for direction, count in (("up", one.raised), ("down", one.lowered))
    ]


AUTOSCALING: Final[tuple[Metric[OperatorState], ...]] = (
    _gauge("desired_groups", "Groups that are wanted", lambda one: one.last.target),
    _gauge("serving_groups", "Groups that get requests", lambda one: one.last.groups.serving),
    _gauge(
        "starting_groups", "Groups that have capacity and do not serve yet", lambda one: len(one.last.groups.starting)
    ),
    _gauge("held_groups", "Groups that wait for capacity", lambda one: one.last.groups.held),
    _gauge("leaving_groups", "Groups that drain", lambda one: one.last.groups.leaving),
    _gauge("waiting_requests", "Requests that wait in the gateways", lambda one: one.last.load.waiting),
    _gauge("load_known", "1 when all gateways have answered, else 0", lambda one: int(one.last.load.known)),
    Metric(
        f"{_PREFIX}_in_time_ratio",
        "gauge",
        "Share of the requests that waited no longer than autoscaling.target.waitSeconds, of about an hour or a day",
        _shares,
        labels=(*LABELS, "window"),
    ),
    Metric(
        f"{_PREFIX}_reason",
        "gauge",
        "Always 1; the label says why the number of wanted groups is what it is",
        _reasons,
        labels=(*LABELS, "reason"),
    ),
    Metric(
        f"{_PREFIX}_decisions_total",
        "counter",
        "Changes of the number of wanted groups, by direction: up or down",
        _decisions,
        labels=(*LABELS, "direction"),
    ),
)

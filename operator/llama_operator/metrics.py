"""The metrics of the operator: one table, read when somebody scrapes. docs/reference/metrics.md is generated from it.

Counters begin at 0 with the process.
"""

from collections.abc import Callable
from typing import Final

from llama_operator.autoscaler_registry import AutoscaledDeployment, AutoscalerRegistry
from llama_serving.config.metrics import Metric, Samples

_LABELS: Final = ("namespace", "deployment")
_PREFIX: Final = "llama_operator_autoscaling"


def _gauge(name: str, help_text: str, value: Callable[[AutoscaledDeployment], int]) -> Metric[AutoscalerRegistry]:
    """Make a gauge with one value a deployment."""

    def read(registry: AutoscalerRegistry) -> Samples:
        return [((one.key.namespace, one.key.name), value(one)) for one in registry.deployments()]

    return Metric(f"{_PREFIX}_{name}", "gauge", help_text, read, labels=_LABELS)


def _reasons(registry: AutoscalerRegistry) -> Samples:
    return [((one.key.namespace, one.key.name, one.last.reason), 1) for one in registry.deployments()]


def _decisions(registry: AutoscalerRegistry) -> Samples:
    return [
        ((one.key.namespace, one.key.name, direction), count)
        for one in registry.deployments()
        for direction, count in (("up", one.raised), ("down", one.lowered))
    ]


METRICS: Final[tuple[Metric[AutoscalerRegistry], ...]] = (
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
        f"{_PREFIX}_reason",
        "gauge",
        "Always 1; the label says why the number of wanted groups is what it is",
        _reasons,
        labels=(*_LABELS, "reason"),
    ),
    Metric(
        f"{_PREFIX}_decisions_total",
        "counter",
        "Changes of the number of wanted groups, by direction: up or down",
        _decisions,
        labels=(*_LABELS, "direction"),
    ),
)

"""Metrics as tables: one row per metric, with the function that reads its values from a process's state.

Counting stays where it is done, in plain integers; rows are read when somebody scrapes. The text is made by
``prometheus_client``. The same tables generate docs/reference/metrics.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

State = TypeVar("State")

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values counted per class: ``bounds`` are the upper ones as ``le`` spells them, a last class has the rest."""

    bounds: Sequence[str]
    counts: Sequence[int]
    total: float

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts per upper bound."""
        reached = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            reached += count
            buckets.append((bound, reached))
        return buckets


Value = float | Distribution
#: A value for each tuple of label values; a metric without labels has the one empty tuple.
Samples = Iterable[tuple[tuple[str, ...], Value]]


@dataclass(frozen=True)
class Metric(Generic[State]):
    """One metric; ``read`` returns its samples. A counter's name ends in ``_total``."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[State], Samples]
    labels: tuple[str, ...] = ()


def single(value: Callable[[State], Value]) -> Callable[[State], Samples]:
    """Return the ``read`` of a metric without labels."""
    return lambda state: [((), value(state))]


class TableCollector(Generic[State]):
    """Collects a table for ``prometheus_client``; ``state`` is called once per scrape."""

    def __init__(self, table: Sequence[Metric[State]], state: Callable[[], State]) -> None:
        self._table = table
        self._state = state

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without samples, so that registering reads no state."""
        for metric in self._table:
            yield _family(metric, ())

    def collect(self) -> Iterator[Family]:
        """Yield the metrics with their samples."""
        state = self._state()
        for metric in self._table:
            yield _family(metric, metric.read(state))


def exposition(table: Sequence[Metric[State]], state: Callable[[], State]) -> Callable[[], bytes]:
    """Return the function that renders the table in Prometheus' text format (``CONTENT_TYPE``)."""
    registry = CollectorRegistry()
    registry.register(TableCollector(table, state))
    return lambda: generate_latest(registry)


def _family(metric: Metric[State], samples: Samples) -> Family:
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            if not isinstance(value, Distribution):
                raise TypeError(f"{metric.name} is a histogram and has a single value")
            histogram.add_metric(labels, value.buckets(), value.total)
        return histogram
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if isinstance(value, Distribution):
            raise TypeError(f"{metric.name} is a {metric.type} and has a distribution")
        family.add_metric(labels, value)
    return family

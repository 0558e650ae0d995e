"""What the gateway counts: plain integers, because counting must cost next to nothing per request.

``llama_serving.config.gateway_metrics`` is the table of the metrics that are made of them at a scrape.
"""

import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts
from llama_serving.config.metrics import Distribution
from llama_serving.gateway.telemetry.workload import Workload

_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LABELS = tuple(f"{bound:g}" for bound in _BOUNDS)
_FIRST_BYTE_LABELS = tuple(str(bound) for bound in FIRST_BYTE_BOUNDS)


class Histogram:
    """Counts of seconds per class."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self._counts[bisect.bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def distribution(self) -> Distribution:
        """Return the counts; the sum in whole microseconds."""
        return Distribution(_LABELS, tuple(self._counts), round(self._sum, 6))


@dataclass(slots=True)
class WeightsCount:
    """Counts of the answers given by some weights; ``seconds`` is the sum of the times to the first byte."""

    finished: int = 0
    failed: int = 0
    continued: int = 0
    broken: int = 0
    first_byte: list[int] = field(default_factory=lambda: [0] * (len(FIRST_BYTE_BOUNDS) + 1))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count the time to the first byte of a stream."""
        self.first_byte[bisect.bisect_left(FIRST_BYTE_BOUNDS, seconds)] += 1
        self.seconds += seconds

    def counts(self) -> AnswerCounts:
        """Return the counts as part of ``GatewayLoad``."""
        return AnswerCounts(
            finished=self.finished,
            failed=self.failed,
            continued=self.continued,
            broken=self.broken,
            first_byte=tuple(self.first_byte),
        )

    def distribution(self) -> Distribution:
        """Return the times to the first byte; the sum in whole microseconds."""
        return Distribution(_FIRST_BYTE_LABELS, tuple(self.first_byte), round(self.seconds, 6))


class Metrics:
    """Counts since the start of this gateway. ``totals`` has the keys of ``GatewayLoad.totals``."""

    TOTALS = (
        "finished",
        "retried",
        "continued",
        "rejected_full",
        "rejected_late",
        "rejected_deadline",
        "cancelled",
        "broken",
    )

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter(dict.fromkeys(self.TOTALS, 0))
        self.codes: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.weights: defaultdict[str, WeightsCount] = defaultdict(WeightsCount)
        self.adapters: defaultdict[str, WeightsCount] = defaultdict(WeightsCount)  # by id
        self.wait = Histogram()
        self.first_byte = Histogram()
        self.duration = Histogram()
        self.workload = Workload()

    def counts_of(self, weights: str, adapter_id: str) -> tuple[WeightsCount, ...]:
        """Return what counts an answer: that of the weights, and that of an adapter on them."""
        count = self.weights[weights]
        return (count, self.adapters[adapter_id]) if adapter_id else (count,)

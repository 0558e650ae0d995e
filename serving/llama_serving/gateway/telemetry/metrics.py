"""Counters and histograms in Prometheus' text format, without a client library: the gateway needs a dozen lines of it.

Counting must cost next to nothing on the way of a request, so a counter is an integer in a dictionary and all
formatting happens when somebody asks.
"""

import bisect
import os
import pathlib
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts
from llama_serving.gateway.telemetry.workload import Demand

_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Histogram:
    """A distribution of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self._counts[bisect.bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterable[str]:
        """Yield the samples."""
        total = 0
        for bound, count in zip(_BOUNDS, self._counts, strict=False):
            total += count
            yield f'{name}_bucket{{le="{bound:g}"}} {total}'
        total += self._counts[-1]
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


@dataclass(slots=True)
class WeightsCount:
    """AnswerCounts of some weights, while they are counted."""

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
        """Return them as the contract has them."""
        return AnswerCounts(
            finished=self.finished,
            failed=self.failed,
            continued=self.continued,
            broken=self.broken,
            first_byte=tuple(self.first_byte),
        )

    def lines(self, name: str, weights: str) -> Iterable[str]:
        """Yield the samples of the histogram."""
        total = 0
        for bound, count in zip((*FIRST_BYTE_BOUNDS, "+Inf"), self.first_byte, strict=True):
            total += count
            yield f'{name}_bucket{{weights="{weights}",le="{bound}"}} {total}'
        yield f'{name}_sum{{weights="{weights}"}} {self.seconds:.6f}'
        yield f'{name}_count{{weights="{weights}"}} {total}'


class Metrics:
    """What the gateway counts. ``totals`` has the keys of ``GatewayLoad.totals``."""

    TOTALS = ("finished", "retried", "continued", "rejected_full", "rejected_deadline", "cancelled", "broken")

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter(dict.fromkeys(self.TOTALS, 0))
        self.codes: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.weights: defaultdict[str, WeightsCount] = defaultdict(WeightsCount)
        self.wait = Histogram()
        self.first_byte = Histogram()
        self.duration = Histogram()
        self.demand = Demand()

    def lines(self) -> Iterable[str]:
        """Yield all samples that need nothing but these counts."""
        name = "llama_gateway_requests_total"
        yield from _header(name, "counter", "requests by the status that the client got; 499: it went away before")
        for code, count in sorted(self.codes.items()):
            yield f'{name}{{code="{code}"}} {count}'
        name = "llama_gateway_attempt_faults_total"
        yield from _header(name, "counter", "attempts on a group that failed before the first byte, by kind")
        for kind, count in sorted(self.faults.items()):
            yield f'{name}{{kind="{kind}"}} {count}'
        for total, count in self.totals.items():
            yield from sample(f"llama_gateway_{total}_total", "counter", _TOTAL_HELP[total], count)
        yield from self._histograms()
        yield from self._weights_lines()
        yield from _process()

    def _histograms(self) -> Iterable[str]:
        for name, text, histogram in (
            ("wait_seconds", "time that a request waited for a group, in all", self.wait),
            ("first_byte_seconds", "from the request read to the first byte of its answer", self.first_byte),
            ("duration_seconds", "from the request read to the end of its answer", self.duration),
        ):
            yield from _header(f"llama_gateway_{name}", "histogram", text)
            yield from histogram.lines(f"llama_gateway_{name}")

    def _weights_lines(self) -> Iterable[str]:
        by_weights = [(_label(weights), count) for weights, count in sorted(self.weights.items())]
        name = "llama_gateway_answers_total"
        yield from _header(name, "counter", "what became of answers, by the weights that gave them")
        for weights, count in by_weights:
            for outcome in ("finished", "failed", "continued", "broken"):
                yield f'{name}{{weights="{weights}",outcome="{outcome}"}} {getattr(count, outcome)}'
        name = "llama_gateway_stream_first_byte_seconds"
        yield from _header(name, "histogram", "from a request for a stream sent to a group to its first byte")
        for weights, count in by_weights:
            yield from count.lines(name, weights)


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


_TOTAL_HELP = {
    "finished": "requests whose answer was passed on to its end",
    "retried": "attempts that were repeated",
    "continued": "streams that another group has ended than the one that began them",
    "rejected_full": "requests refused because too many waited",
    "rejected_deadline": "requests that got no group in time",
    "cancelled": "requests whose client went away",
    "broken": "answers that broke after their first byte",
}


def sample(name: str, kind: str, text: str, value: float) -> Iterable[str]:
    """Yield a metric with a single sample."""
    yield from _header(name, kind, text)
    yield f"{name} {value:.12g}" if isinstance(value, float) else f"{name} {value}"


def labelled(name: str, text: str, values: Iterable[tuple[str, float]]) -> Iterable[str]:
    """Yield a gauge with one sample per group."""
    yield from _header(name, "gauge", text)
    for group, value in values:
        yield f'{name}{{group="{group}"}} {value:g}'


def _header(name: str, kind: str, text: str) -> Iterable[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _process() -> Iterable[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    yield from sample("process_cpu_seconds_total", "counter", "CPU time of the gateway", cpu)
    with pathlib.Path("/proc/self/statm").open(encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    yield from sample("process_resident_memory_bytes", "gauge", "resident memory of the gateway", memory)
    yield from sample("process_open_fds", "gauge", "open files and sockets", len(os.listdir("/proc/self/fd")))


def started() -> Iterable[str]:
    """Yield the time of the start, from now."""
    yield from sample("process_start_time_seconds", "gauge", "start as seconds since 1970", time.time())

"""What a leader shows to Prometheus: the engine's own metrics (``vllm:*``), and whether they could be read.

The engine counts in the replica's process and writes them at ``/metrics`` of its port. That port takes prompts too,
so a scraper gets a port of the supervisor's instead, which has nothing but this.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_serving.config.metrics import Metric, Value, exposition, single
from llama_serving.config.state import RankProgress


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One look at the engine: its metrics in Prometheus' text format; None when it did not answer."""

    text: bytes | None
    watched: "WatchReading" = field(default_factory=lambda: WatchReading({}, {}))


@dataclass(frozen=True, slots=True)
class WatchReading:
    """What the leader's watch knows: heartbeats by stage, and how often something hung, by stage and process."""

    ranks: Mapping[int, Sequence[RankProgress]]
    hangs: Mapping[tuple[int, str], int]


def _steps(reading: EngineReading) -> Iterator[tuple[tuple[str, ...], Value]]:
    for stage, ranks in reading.watched.ranks.items():
        for rank in ranks:
            yield (str(stage), str(rank.rank)), rank.step


def _last_calls(reading: EngineReading) -> Iterator[tuple[tuple[str, ...], Value]]:
    for stage, ranks in reading.watched.ranks.items():
        for rank in ranks:
            yield (str(stage), str(rank.rank)), rank.seconds_ago


def _hangs(reading: EngineReading) -> Iterator[tuple[tuple[str, ...], Value]]:
    return (((str(stage), process), number) for (stage, process), number in reading.watched.hangs.items())


METRICS: Final[tuple[Metric[EngineReading], ...]] = (
    Metric(
        "llama_cell_engine_up",
        "gauge",
        "1 if the engine showed its own metrics (vllm:*) at this scrape; 0 while it starts or is gone",
        single(lambda reading: int(reading.text is not None)),
    ),
    Metric(
        "llama_cell_rank_steps_total",
        "counter",
        "steps of the model that a rank has begun, by its own count; begins anew with each engine",
        _steps,
        ("stage", "rank"),
    ),
    Metric(
        "llama_cell_rank_last_call_seconds",
        "gauge",
        "seconds since a rank last began or ended a call of the engine; an idle engine makes one every 5 s",
        _last_calls,
        ("stage", "rank"),
    ),
    Metric(
        "llama_cell_hangs_total",
        "counter",
        "processes that hung and were ended, by stage; since the leader's container started",
        _hangs,
        ("stage", "process"),
    ),
)


def metrics_text(reading: EngineReading) -> bytes:
    """Return all metrics in Prometheus' text format (``llama_serving.config.metrics.CONTENT_TYPE``)."""
    own = exposition(METRICS, lambda: reading)()
    engine = reading.text or b""
    return own + engine + (b"" if engine.endswith(b"\n") or not engine else b"\n")

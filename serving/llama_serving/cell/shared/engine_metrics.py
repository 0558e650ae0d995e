"""What a leader shows to Prometheus: the engine's own metrics (``vllm:*``), and whether they could be read.

The engine counts in the replica's process and writes them at ``/metrics`` of its port. That port takes prompts too,
so a scraper gets a port of the supervisor's instead, which has nothing but this.
"""

from dataclasses import dataclass
from typing import Final

from llama_serving.config.metrics import Metric, exposition, single


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One look at the engine: its metrics in Prometheus' text format; None when it did not answer."""

    text: bytes | None


METRICS: Final[tuple[Metric[EngineReading], ...]] = (
    Metric(
        "llama_cell_engine_up",
        "gauge",
        "1 if the engine showed its own metrics (vllm:*) at this scrape; 0 while it starts or is gone",
        single(lambda reading: int(reading.text is not None)),
    ),
)


def metrics_text(reading: EngineReading) -> bytes:
    """Return all metrics in Prometheus' text format (``llama_serving.config.metrics.CONTENT_TYPE``)."""
    own = exposition(METRICS, lambda: reading)()
    engine = reading.text or b""
    return own + engine + (b"" if engine.endswith(b"\n") or not engine else b"\n")

"""How many requests the engine computes, and how many it has not begun.

Read from the gauges that vLLM sets after each step, in the process of the replica: no question to the engine. They
stay what they were when nothing is computed any more, also after the last requests were aborted; so an engine that
nobody is in has none. They are missing where a user has set the engine's option ``disable_log_stats``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from llama_serving.cell.replica.request_gate import Door

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"


@dataclass(frozen=True)
class Batch:
    """Numbers of requests; one with ``n`` answers may be several of the running ones."""

    running: int
    waiting: int


class Registry(Protocol):
    """The part of ``prometheus_client.CollectorRegistry`` that is used: it collects the named metrics only."""

    def restricted_registry(self, names: Iterable[str]) -> Any:
        """Something with ``collect()``."""


def batch(registry: Registry, door: Door) -> Batch | None:
    """What is in the engine behind ``door``; who waits outside has not begun either. None when it is unknown."""
    values: dict[str, float] = {}
    for metric in registry.restricted_registry((RUNNING, WAITING)).collect():
        for sample in metric.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    if values.keys() != {RUNNING, WAITING}:
        return None
    if door.inside == 0:
        return Batch(running=0, waiting=door.waiting)
    return Batch(running=int(values[RUNNING]), waiting=int(values[WAITING]) + door.waiting)

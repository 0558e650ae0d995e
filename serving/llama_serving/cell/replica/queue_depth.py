"""How many requests the engine computes, and how many it has not begun.

Read from the gauges that vLLM sets after each step, in the process of the replica: no question to the engine. They
stay what they were when nothing is computed any more, also after the last requests were aborted; so an engine
without requests has none. They are missing where a user has set the engine's option ``disable_log_stats``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from llama_serving.cell.replica.request_gate import RequestGate

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"


@dataclass(frozen=True)
class QueueDepth:
    """Numbers of requests; one with ``n`` answers may be several of the running ones."""

    running: int
    waiting: int


class Registry(Protocol):
    """The part of ``prometheus_client.CollectorRegistry`` that is used: it collects the named metrics only."""

    def restricted_registry(self, names: Iterable[str]) -> Any:
        """Return something with ``collect()``."""


def read_queue_depth(registry: Registry, gate: RequestGate) -> QueueDepth | None:
    """Return the requests in the engine; those before ``gate`` have not begun either. None when it is unknown."""
    values: dict[str, float] = {}
    for metric in registry.restricted_registry((RUNNING, WAITING)).collect():
        for sample in metric.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    if values.keys() != {RUNNING, WAITING}:
        return None
    if gate.admitted == 0:
        return QueueDepth(running=0, waiting=gate.waiting)
    return QueueDepth(running=int(values[RUNNING]), waiting=int(values[WAITING]) + gate.waiting)

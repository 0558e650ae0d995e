"""Requests in the engine, from vLLM's gauges."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from llama_serving.cell.replica.queue_depth import RUNNING, WAITING, QueueDepth, read_queue_depth
from llama_serving.cell.replica.request_gate import RequestGate


@dataclass(frozen=True)
class Sample:
    name: str
    value: float


@dataclass
class Gauges:
    """A registry: samples of metrics, of which only those that are asked for are collected."""

    samples: list[Sample] = field(default_factory=list)

    def restricted_registry(self, names: Iterable[str]) -> "Gauges":
        return Gauges([sample for sample in self.samples if sample.name in names])

    def collect(self) -> list["Gauges"]:
        return [self] if self.samples else []


def gauges(*values: tuple[str, float]) -> Gauges:
    return Gauges([Sample(*value) for value in values])


async def gate(*, admitted: int, waiting: int = 0) -> RequestGate:
    made = RequestGate("w")
    for _ in range(admitted):
        assert await made.enter()
    made.waiting = waiting
    return made


@pytest.mark.parametrize(
    ("values", "admitted", "waiting", "expected"),
    [
        ([(RUNNING, 2.0), (WAITING, 1.0)], 3, 0, QueueDepth(running=2, waiting=1)),
        ([(RUNNING, 2.0), (WAITING, 1.0)], 3, 4, QueueDepth(running=2, waiting=5)),
        ([(RUNNING, 2.0), (RUNNING, 3.0), (WAITING, 0.0)], 5, 0, QueueDepth(running=5, waiting=0)),
        ([(RUNNING, 2.0), (WAITING, 1.0)], 0, 0, QueueDepth(running=0, waiting=0)),
        ([(RUNNING, 2.0), (WAITING, 1.0)], 0, 2, QueueDepth(running=0, waiting=2)),
        ([(RUNNING, 2.0), ("vllm:other", 1.0)], 3, 0, None),
        ([], 3, 0, None),
    ],
)
async def test_requests_in_the_engine(
    *, values: list[tuple[str, float]], admitted: int, waiting: int, expected: QueueDepth | None
) -> None:
    assert read_queue_depth(gauges(*values), await gate(admitted=admitted, waiting=waiting)) == expected

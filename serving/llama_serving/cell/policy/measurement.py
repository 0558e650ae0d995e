"""When a measurement of the engine counts: for the same process and weights, and an error only when it repeats."""

from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import Measurement, Verify

TRIES: Final = 3  # an engine that does not answer a question is measured again before that counts


@dataclass(frozen=True)
class CachedMeasurement:
    """A measurement, and the checks that it answers."""

    measurement: Measurement
    tokens_per_second: float  # of one request; 0 where it was not measured
    verify: Verify


@dataclass(frozen=True)
class MeasuredEngine:
    """The last measurement, of which engine, and how often in a row it was taken with the same checks."""

    pid: int
    weights: WeightsRef
    cached: CachedMeasurement
    tries: int = 1

    @property
    def is_final(self) -> bool:
        """Whether it counts; an error counts when it came again and again."""
        return not self.cached.measurement.error or self.tries >= TRIES

    def is_of(self, replica: ReplicaState | None) -> bool:
        """Return whether it is of the weights that this replica holds now."""
        return replica is not None and (self.pid, self.weights) == (replica.pid, replica.weights)


def is_same_engine(before: ReplicaState, after: ReplicaState | None) -> bool:
    """Return whether one engine with one set of weights has answered everything between two looks."""
    return after is not None and (after.pid, after.weights, after.swap) == (before.pid, before.weights, before.swap)


def reusable(last: MeasuredEngine | None) -> CachedMeasurement | None:
    """Return what need not be measured again of the same engine."""
    return None if last is None or last.cached.measurement.error else last.cached


def next_measurement(last: MeasuredEngine | None, taken: MeasuredEngine) -> MeasuredEngine:
    """Return the new last measurement; ``last`` is of the same engine, or None."""
    again = last is not None and last.cached.verify == taken.cached.verify
    return replace(taken, tries=last.tries + 1) if again and last is not None else taken

"""What every policy of the replay is: told what its system would see, and asked how many groups it wants."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading. ``load`` and ``concurrency`` are of the second that ends at ``now``."""

    now: float  # seconds since the trace began
    load: Load
    groups: GroupCounts
    target: int  # what the policy, or the start, wanted last
    concurrency: float  # requests in flight and waiting, mean over the second
    starts: tuple[float, ...]  # seconds that starts took which ended within it


class Policy(Protocol):
    """A rule with its state. ``interval`` in seconds: how often its system decides."""

    @property
    def interval(self) -> float:
        """Seconds between two decisions."""
        ...

    def watch(self, seen: Seen, /) -> None:
        """Take in what was seen; once a second, whether or not a decision is due."""
        ...

    def decide(self, seen: Seen, /) -> int:
        """Return how many groups there shall be."""
        ...


#: Makes a policy for a deployment that begins with so many groups.
Maker = Callable[[Parameters, int], Policy]


@dataclass(frozen=True)
class Static:
    """Always the same number."""

    groups: int
    interval: float = 15.0

    def watch(self, _seen: Seen, /) -> None:
        """Ignore readings: there is nothing to remember."""

    def decide(self, _seen: Seen, /) -> int:
        """Return the number."""
        return self.groups


def clamp(value: int, parameters: Parameters) -> int:
    """Bound a number of groups by the limits."""
    return max(parameters.minReplicas, min(value, parameters.maxReplicas))

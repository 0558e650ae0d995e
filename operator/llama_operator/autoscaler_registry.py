"""What the operator remembers of autoscaled deployments between two passes, in memory only.

Losing it loses a recording of an hour and the windows' look at the past, and changes no target: what a restart must
not forget is in the status. Counts are of this process: they begin at 0 with it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.plan.autoscaling.memory import NO_MEMORY, AutoscalingMemory, ScalingResult
from llama_operator.plan.autoscaling.recording import Reading, reading_of
from llama_operator.ports import Key

KEPT_READINGS = 3600  # about an hour


@dataclass
class AutoscaledDeployment:
    """One autoscaled deployment."""

    key: Key
    last: ScalingResult
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT_READINGS))
    raised: int = 0  # decisions so far
    lowered: int = 0

    def add(self, result: ScalingResult, now: datetime) -> None:
        """Count a decision and record its reading."""
        self.raised += int(result.target > self.last.target)
        self.lowered += int(result.target < self.last.target)
        self.last = result
        self.readings.append(reading_of(result.load, result.groups, target=result.target, time=now.timestamp()))


@dataclass
class AutoscalerRegistry:
    """All autoscaled deployments, by uid: another object of the same name is another deployment."""

    known: dict[str, AutoscaledDeployment] = field(default_factory=dict)

    def memory(self, uid: str) -> AutoscalingMemory:
        """Return what the last pass has left; an empty memory when there was none."""
        found = self.known.get(uid)
        return found.last.memory if found else NO_MEMORY

    def keep(self, key: Key, uid: str, *, result: ScalingResult | None, now: datetime) -> None:
        """Keep the result of a pass whose decision is written. None: there is no autoscaling any more."""
        if result is None:
            self.known.pop(uid, None)
            return
        self.known.setdefault(uid, AutoscaledDeployment(key, result)).add(result, now)

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone."""
        self.known.pop(uid, None)

    def deployments(self) -> list[AutoscaledDeployment]:
        """List the deployments in the order of their keys."""
        return sorted(self.known.values(), key=lambda one: one.key)

    def readings(self, key: Key) -> Sequence[Reading] | None:
        """Return the readings of the last hour, the latest last; None for a deployment that is not known."""
        found = [one for one in self.known.values() if one.key == key]
        return found[-1].readings if found else None

"""What autoscaling remembers: from one decision to the next (``PolicyState``), and from one pass to the next.

A new process begins with an empty ``AutoscalingMemory``: what has to outlive it is in the status (``DurableState``).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from llama_operator.api.v1alpha1.status import AutoscalingStatus
from llama_operator.plan.autoscaling.demand import DemandHistory
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load, PreviousReading
from llama_operator.plan.autoscaling.owed import NOTHING_OWED, Owed, Remembered
from llama_operator.plan.reasons import Explanation

KEPT_STARTS = 20


@dataclass(frozen=True)
class DurableState:
    """The part of the state that survives a restart: it is in the object's status, and changes with decisions."""

    target: int | None = None  # None: nothing was decided yet
    raised: datetime | None = None  # when the target was last raised
    lowered: datetime | None = None
    starts: tuple[float, ...] = ()  # seconds that past starts took, the latest last
    seconds_per_token: float | None = None  # of a slot, as last measured
    owed: Remembered = NOTHING_OWED  # requests that left without an answer while no group served
    failed_starts: int = 0  # in a row, for requests at zero groups
    gave_up: datetime | None = None  # the last of them


@dataclass(frozen=True)
class PolicyState:
    """What a decision leaves to the next. A fresh one with the same ``durable`` part does not change the target."""

    durable: DurableState = DurableState()
    history: DemandHistory = field(default_factory=DemandHistory)  # volatile
    owed: Owed | None = None  # volatile; None: nothing was read yet

    def with_starts(self, seconds: tuple[float, ...]) -> "PolicyState":
        """Add starts that have ended since; the last KEPT_STARTS are kept."""
        if not seconds:
            return self
        starts = (*self.durable.starts, *seconds)[-KEPT_STARTS:]
        return replace(self, durable=replace(self.durable, starts=starts))


@dataclass(frozen=True)
class AutoscalingMemory:
    """From one pass to the next. ``status`` is ahead of the object's while the watch lags behind our own write."""

    reading: PreviousReading = field(default_factory=PreviousReading)
    state: PolicyState | None = None
    status: AutoscalingStatus | None = None
    new_leaders: frozenset[str] = frozenset()  # uids of leaders that have had no request yet
    next_serves: float | None = None  # seconds until a group that starts now, or has begun to, is expected to serve


#: Of a new process.
NO_MEMORY = AutoscalingMemory()


@dataclass(frozen=True)
class ScalingResult:
    """What one pass decided about the number of groups, and from what."""

    target: int
    status: AutoscalingStatus
    decided: bool  # the target is another one: it is written before anything is done by it
    memory: AutoscalingMemory
    load: Load
    groups: GroupCounts
    reason: str  # of this pass; the status has that of the last change
    message: str
    explanations: tuple[Explanation, ...] = ()

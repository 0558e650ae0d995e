"""What the policy remembers: from one decision to the next, and over a restart (``DurableState``)."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from llama_operator.plan.autoscaling.formula.demand import DemandHistory
from llama_operator.plan.autoscaling.owed import NOTHING_OWED, Owed, Remembered

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

"""What autoscaling remembers from one pass to the next, and what a pass has decided.

A new process begins with an empty ``AutoscalingMemory``: what has to outlive it is in the status (``DurableState``).
"""

from dataclasses import dataclass, field

from llama_operator.api.v1alpha1.status import AutoscalingStatus
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.learning.learner import Learner
from llama_operator.plan.autoscaling.load import Load, PreviousReading
from llama_operator.plan.autoscaling.state import PolicyState
from llama_operator.plan.reasons import Explanation


@dataclass(frozen=True)
class AutoscalingMemory:
    """From one pass to the next. ``status`` is ahead of the object's while the watch lags behind our own write."""

    reading: PreviousReading = field(default_factory=PreviousReading)
    state: PolicyState | None = None
    status: AutoscalingStatus | None = None
    new_leaders: frozenset[str] = frozenset()  # uids of leaders that have had no request yet
    learner: Learner | None = None
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

"""What the passes of an autoscaled deployment hand on in the operator's memory, and what one pass found.

A new process begins with an empty ``Recall``: what has to outlive it is in the status.
"""

from dataclasses import dataclass, field

from llama_operator.api.v1alpha1.status import AutoscalingStatus
from llama_operator.plan.autoscaling.load import Load, Marks
from llama_operator.plan.autoscaling.policy import Groups, State
from llama_operator.plan.reasons import Explanation


@dataclass(frozen=True)
class Recall:
    """From one pass to the next. ``record`` is ahead of the status while the watch lags behind our own write."""

    marks: Marks = field(default_factory=Marks)
    state: State | None = None
    record: AutoscalingStatus | None = None
    fresh: frozenset[str] = frozenset()  # uids of leaders that have had no request yet


#: Of a new process.
NOTHING = Recall()


@dataclass(frozen=True)
class Scaled:
    """What one pass decided about the number of groups, and from what."""

    target: int
    record: AutoscalingStatus  # for the status
    decided: bool  # the target is another one: it is written before anything is done by it
    recall: Recall
    load: Load
    groups: Groups
    reason: str  # of this pass; the record has that of the last change
    message: str
    holds: tuple[Explanation, ...] = ()

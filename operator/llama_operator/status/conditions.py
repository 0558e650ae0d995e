"""The one way to write a condition: its time changes with its value only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llama_operator.api import Condition

LONGEST: Final = 2000  # characters of a message: the API server refuses a condition with a very long one


@dataclass(frozen=True)
class Stamp:
    """When, and for which generation of the object, conditions are written."""

    before: tuple[Condition, ...]  # those in the status
    generation: int
    now: datetime


def condition(kind: str, value: bool, why: tuple[str, str], *, stamp: Stamp) -> Condition:
    """Write one condition. ``why``: its reason and its message."""
    status, (reason, message) = "True" if value else "False", why
    before = next((one for one in stamp.before if one.type == kind), None)
    unchanged = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:LONGEST],
        last_transition_time=before.last_transition_time if before and unchanged else stamp.now.replace(microsecond=0),
        observed_generation=stamp.generation,
    )

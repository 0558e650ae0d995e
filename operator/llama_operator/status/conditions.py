"""The one way to write a condition: its time changes with its value only.

``Ready``, ``Reconciling`` and ``Stalled`` follow kstatus (sigs.k8s.io/cli-utils, pkg/kstatus), which Flux, Helm 4 and
``kubectl wait`` go by. Exactly one of them is True: the object is as its spec asks, or work on it goes on by itself, or
nothing goes on until somebody acts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from llama_operator.api import Condition
from llama_serving.config.reason_catalogue import CATALOGUE, Severity

LONGEST: Final = 2000  # characters of a message: the API server refuses a condition with a very long one


_STATUS: Final[Mapping[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}


@dataclass(frozen=True)
class Stamp:
    """When, and for which generation of the object, conditions are written."""

    before: tuple[Condition, ...]  # those in the status
    generation: int
    now: datetime


def condition(kind: str, value: bool | None, why: tuple[str, str], *, stamp: Stamp) -> Condition:
    """Write one condition; None is Unknown. ``why``: its reason and its message."""
    status, (reason, message) = _STATUS[value], why
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


def needs_somebody(reason: str) -> bool:
    """Return whether the catalogue says that nothing goes on by itself; an unknown reason may be a newer part's."""
    return reason in CATALOGUE and CATALOGUE[reason].severity is Severity.NEEDS_SOMEBODY


def kstatus_conditions(
    why: tuple[str, str], *, ready: bool, stalled: bool, stamp: Stamp
) -> tuple[Condition, Condition, Condition]:
    """Write Ready, Reconciling and Stalled. What is ready is not stalled, whatever ``stalled`` says."""
    return (
        condition("Ready", ready, why, stamp=stamp),
        condition("Reconciling", not ready and not stalled, why, stamp=stamp),
        condition("Stalled", not ready and stalled, why, stamp=stamp),
    )

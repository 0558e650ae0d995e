"""The times that the policy looks back and ahead, from the time that a start takes.

    horizon   p90 of the measured starts; before one was measured, ``Limits.start``
    keep      horizon, within 15 s .. 15 min: how long a group is kept after it was last needed
    stable    4 x horizon, within 10 .. 30 min: the longest window of the load
    panic     horizon / 4, at least twice the wait limit: the shortest window
    cooldown  keep: between a change and a scale-down

A group that is removed and needed again costs a start, in its devices' time and in requests that wait for it. It is
kept for about as long as a start takes after it was last needed: the ski rental's rule, never more than twice the cost
of knowing. A group ordered now serves after a start, so load that is over in a small part of that is no reason to
order one: the shortest window is a quarter of it. A stable window that the user asks for is also how long a group is
kept.
"""

from dataclasses import dataclass
from math import ceil

from llama_operator.plan.autoscaling.formula import forecast
from llama_operator.plan.autoscaling.inputs import Limits

SHORTEST_KEEP, LONGEST_KEEP = 15.0, 900.0  # seconds
SHORTEST_STABLE, LONGEST_STABLE = 600.0, 1800.0  # seconds


@dataclass(frozen=True)
class Windows:
    """Times in seconds, derived from the time that a start takes unless they are asked for."""

    horizon: float  # until a group ordered now serves
    stable: float  # the longest window of the load
    panic: float  # the shortest
    keep: float  # how far back the need is looked at before a scale-down
    cooldown: float  # between a change and a scale-down
    wait: float

    @property
    def taus(self) -> tuple[float, ...]:
        """Time constants of the levels."""
        return forecast.time_constants(self.panic, self.stable)


def windows_for(limits: Limits, starts: tuple[float, ...]) -> Windows:
    """Derive the windows that the limits do not set from the seconds that past ``starts`` took."""
    horizon = horizon_for(limits, starts)
    keep = limits.stable or min(LONGEST_KEEP, max(SHORTEST_KEEP, horizon))
    stable = limits.stable or min(LONGEST_STABLE, max(SHORTEST_STABLE, 4 * horizon))
    return Windows(
        horizon=horizon,
        stable=stable,
        panic=limits.panic or min(stable, max(2 * limits.wait, horizon / 4)),
        keep=keep,
        cooldown=keep if limits.cooldown is None else limits.cooldown,
        wait=limits.wait,
    )


def horizon_for(limits: Limits, starts: tuple[float, ...]) -> float:
    """Compute the seconds that a start takes: p90 of those measured."""
    if not starts:
        return max(1.0, limits.start)
    ordered = sorted(starts)
    return max(1.0, ordered[ceil(0.9 * len(ordered)) - 1])

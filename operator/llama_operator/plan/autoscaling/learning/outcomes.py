"""What each rule would have made of the load that came: how many requests would have been late, for which groups.

A fluid model in steps of a second, all rules at once. A rule with B requests on its groups where the deployment had b
does b - B slot-seconds less work a second, and what is left behind is work that the rule still has to do:

    Z += b - B,     X = x + Z / S,     B = min(X, slots * serving)

x and X are the requests in flight and waiting, S the seconds of a slot that a request takes. So a rule with enough
groups has what the deployment had, to the request, unevenness of arrivals and of lengths included, and work is
conserved where one of them has too few.

First in, first out: a request is late where as many as had come before and with it have not begun W seconds later.
Requests of a second count as evenly spread over it.

A group serves ``delay`` seconds after it was ordered, and the last that was ordered goes first: so the groups that
serve are the fewest that were wanted at any moment of the last ``delay`` seconds.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from llama_operator.plan.autoscaling.learning.rules import Vector

ROWS = 300  # of a delay at most


@dataclass(frozen=True)
class Second:
    """One second of the deployment: means of it, and what there is at its end."""

    arrived: float  # requests
    busy: float  # requests on groups, mean
    requests: float  # in flight and waiting, at the end
    service: float  # seconds of a slot that a request takes
    rejected: float = 0.0  # requests, of those that arrived: a rule with a queue would have had them


class LateRequests:
    """Which requests waited longer than each of ``lags`` seconds, first in, first out. ``judge`` changes it."""

    def __init__(self, rules: int, lags: tuple[float, ...]) -> None:
        self._lags = tuple(_Lag.of(one) for one in lags)
        self._arrived = [0.0] * (max(one.seconds for one in self._lags) + 2)  # ever, one a second
        self._begun = np.zeros(rules)  # ever

    def judge(self, arrived: float, waiting: Vector) -> tuple[list[Vector], list[float]]:
        """Take in a second in which ``arrived`` requests came, and what waits behind it, by rule.

        Returns for each lag how many requests turned out to wait longer, by rule, and of how many that is known now.
        """
        before = self._begun
        self._arrived = [*self._arrived[1:], self._arrived[-1] + arrived]
        self._begun = np.maximum(before, self._arrived[-1] - waiting)
        late, known = [], []
        for lag in self._lags:
            last, first = self._arrived[-1 - lag.seconds], self._arrived[-2 - lag.seconds]
            begun = (1 - lag.part) * self._begun + lag.part * before
            late.append(np.clip(last - np.maximum(begun, first), 0.0, last - first))
            known.append(last - first)
        return late, known


@dataclass(frozen=True)
class _Lag:
    """Requests that came in the second ``seconds`` ago, against what has begun ``part`` of a second ago."""

    seconds: int
    part: float

    @classmethod
    def of(cls, wait: float) -> "_Lag":
        seconds = max(0, ceil(wait - 0.5))
        return cls(seconds, seconds + 0.5 - wait)


class Outcomes:
    """The state of every rule's groups and queue. ``step`` changes it in place.

    ``lags``: waits in seconds whose excess is counted. ``wanted``: groups of each rule at the beginning; they serve.
    """

    def __init__(self, wanted: Vector, *, slots: int, delay: float, lags: tuple[float, ...]) -> None:
        self.slots = slots
        self.wanted = wanted.astype(float)
        self.requests = np.zeros(len(wanted))
        self.busy = np.zeros(len(wanted))
        self._left = np.zeros(len(wanted))  # slot-seconds that are still to be done and the deployment has done
        self._late = LateRequests(len(wanted), lags)
        self._delay = _Delay(self.wanted, delay)

    @property
    def serving(self) -> Vector:
        """Groups that serve."""
        return self._delay.least

    def step(self, second: Second) -> tuple[list[Vector], list[float]]:
        """Return what ``LateRequests.judge`` does."""
        slots = self.slots * self.serving
        self._left += second.rejected * second.service
        self._left += second.busy - 0.5 * (self.busy + np.minimum(self._requests(second), slots))
        self.requests = self._requests(second)
        self.busy = np.minimum(self.requests, slots)
        return self._late.judge(second.arrived, self.requests - self.busy)

    def is_as_seen(self, place: int, second: Second) -> None:
        """Let one rule have the deployment's own requests: it is followed."""
        self.requests[place], self.busy[place], self._left[place] = second.requests, second.busy, 0.0

    def want(self, wanted: Vector) -> Vector:
        """Order groups, or let them go; returns the groups that are paid for in this second."""
        self.wanted = wanted
        self._delay.push(wanted)
        paid: Vector = np.maximum(wanted, self.busy / self.slots)
        return paid

    def set_delay(self, delay: float) -> None:
        """Let starts take so long from now on; what has been ordered serves at once."""
        self._delay = _Delay(self.wanted, delay)

    def _requests(self, second: Second) -> Vector:
        requests: Vector = np.maximum(second.requests + self._left / second.service, 0.0)
        return requests


class _Delay:
    """The least of what was pushed in the last ``delay`` seconds, one push a second, by blocks (van Herk 1992)."""

    def __init__(self, first: Vector, delay: float) -> None:
        rows = max(1, min(ROWS, round(delay)))
        self._seconds = max(1.0, delay) / rows  # of a row
        self._block = np.tile(first.astype(np.int16), (rows, 1))
        self._suffix = self._block.copy()
        self._prefix = self._nothing = np.full(len(first), np.iinfo(np.int16).max, dtype=np.int16)
        self._row = self._nothing
        self._filled, self._pushed, self._ends = 0, 0, self._seconds
        self.least: Vector = first.astype(float)

    def push(self, wanted: Vector) -> None:
        new = wanted.astype(np.int16)
        self._pushed += 1
        self._row = np.minimum(self._row, new)
        if self._pushed < self._ends - 1e-9:
            self.least = np.minimum(self.least, new)
            return
        self._ends += self._seconds
        self._block[self._filled] = self._row
        self._prefix = np.minimum(self._prefix, self._row)
        self._row = self._nothing
        self._filled += 1
        if self._filled == len(self._block):
            self._suffix = np.minimum.accumulate(self._block[::-1], axis=0)[::-1].copy()
            self._prefix = self._nothing
            self._filled = 0
            self.least = self._suffix[0].astype(float)
        else:
            self.least = np.minimum(self._suffix[self._filled], self._prefix).astype(float)

"""The rules that are compared, all stepped at once: one second of load is one operation on arrays.

A reactive rule wants ceil(mean / (share * slots)) groups, the most of the last ``keep`` seconds: ``mean`` is of the
requests in flight and waiting, exponential with the time constant ``smoothing / 2`` and without a bias at its
beginning. A floor is so many groups always, and more only for load that lasts. The array over which ``keep`` goes has
PARTS parts, so a need is kept for ``keep`` seconds and at most a part less.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

PARTS = 12
_SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of a group's slots
_SMOOTHINGS = (1, 30, 120, 300)  # seconds
_KEEPS = (60, 300, 900, 2400)  # seconds
_FLOORS = (*range(2, 33), 36, 40, 44, 48, 52, 56, 60, 64)  # groups


@dataclass(frozen=True)
class ReactiveRule:
    """One rule. Times in seconds; ``floor`` 0: it follows the load only."""

    share: float
    smoothing: int
    keep: int
    floor: int = 0

    def __str__(self) -> str:
        if self.floor:
            return f"{self.floor} groups always"
        mean = "requests" if self.smoothing == 1 else f"requests of about {self.smoothing} s"
        return f"{mean} at {100 * self.share:.0f} % of the slots, the most of {self.keep} s"


#: What the best autoscaler as shipped does with an uneven load: 80 % of the slots, and the most of five minutes.
CAUTIOUS = ReactiveRule(0.8, 1, 300)
RULES: tuple[ReactiveRule, ...] = (
    *(ReactiveRule(*one) for one in product(_SHARES, _SMOOTHINGS, _KEEPS)),
    *(ReactiveRule(1.0, 120, 300, floor=one) for one in _FLOORS),
)


class RuleStates:
    """What each of the rules remembers. ``step`` changes it in place.

    ``slots``: requests that a group runs at once. ``groups``: those that are there at the beginning; a rule keeps them.
    """

    def __init__(self, *, slots: int, groups: int, rules: tuple[ReactiveRule, ...] = RULES) -> None:
        self._limit = np.array([one.share * slots for one in rules])
        self._floor = np.array([float(one.floor) for one in rules])
        smoothing = np.array([float(one.smoothing) for one in rules])
        self._new = np.where(smoothing > 1, 1 - np.exp(-2 / smoothing), 1.0)
        self._sum = np.zeros(len(rules))
        self._weight = np.zeros(len(rules))
        self._most = np.zeros(len(rules))  # of the part that runs now
        self._parts = np.zeros((PARTS, len(rules)))
        self._parts[0] = groups
        keeps = sorted({one.keep for one in rules})
        self._rings = [_Ring(keep / PARTS, np.flatnonzero([one.keep == keep for one in rules])) for keep in keeps]
        self._second = 0

    def step(self, requests: Vector | float) -> Vector:
        """Take in the requests in flight and waiting after one more second; returns what each rule wants, in groups."""
        self._second += 1
        self._sum += self._new * (requests - self._sum)
        self._weight += self._new * (1 - self._weight)
        needed = np.ceil(self._sum / self._weight / self._limit - 1e-9)
        np.maximum(self._most, needed, out=self._most)
        for ring in self._rings:
            if self._second >= ring.ends:
                self._parts[ring.following(), ring.members] = self._most[ring.members]
                self._most[ring.members] = needed[ring.members]
        wanted: Vector = np.maximum(np.maximum(self._parts.max(axis=0), self._most), self._floor)
        return wanted

    def take_over(self, place: int, other: "RuleStates") -> None:
        """Let one rule remember what it remembers in another run of as many seconds."""
        means, parts = other.remembered
        for mine, its in zip((self._sum, self._weight, self._most), means, strict=True):
            mine[place] = its[place]
        self._parts[:, place] = parts[:, place]

    @property
    def remembered(self) -> tuple[tuple[Vector, Vector, Vector], Vector]:
        """What all rules remember: of means, and the most of each part."""
        return (self._sum, self._weight, self._most), self._parts


@dataclass
class _Ring:
    """Where in the parts the rules of one ``keep`` write next."""

    length: float  # seconds of a part
    members: NDArray[np.int64]
    ends: float = 0.0
    place: int = 0

    def __post_init__(self) -> None:
        self.ends = self.length

    def following(self) -> int:
        self.ends += self.length
        self.place = (self.place + 1) % PARTS
        return self.place

"""What came of each rule so far: requests, those late, groups paid for. Old seconds count less than new ones.

``risk`` is the share of requests that a rule is taken to make late. The record of a short time holds few bursts, so
that it has none late says little. Waits of one queue have about an exponential tail (Kingman 1962), so the shares that
waited longer than W/4 and than W/2 tell a share for W before anybody has waited so long:

    risk = max(P(W), P(W/2) * (P(W/2) / P(W/4))^2) + 1 / requests

and one request more may have been late than were seen.

What every form of the formula would have made late at the same time, such as the requests of a step while groups
started, is counted for none of them until it is ``proven`` to come again.

A share of late requests is ``proven`` as far as it is more than one episode makes. Late requests come in episodes,
runs of them with no more than ``QUIET`` seconds in between; of n1, n2 .. late requests the episode that a late request
is in has (n1^2 + n2^2 ..) / (n1 + n2 ..) on average. So one episode proves nothing, however long it was, and two that
are alike prove half of their share.
"""

from dataclasses import dataclass, field
from math import exp

import numpy as np
from numpy.typing import NDArray

from llama_operator.plan.autoscaling.learning.rules import Vector

LAGS = (1.0, 0.5, 0.25)  # of the wait limit
MEMORY = 14_400.0  # seconds after which a request counts 1/e in the shares, where nobody has set it
HOUR = 3600.0  # seconds after which a second counts 1/e in what a rule costs
PRESENT = 900.0  # and in what a form of the formula costs: what is cheap now is looked for, not what was
QUIET = 30.0  # seconds
LEAST = 0.5  # late requests: less is a rounding of the fluid model


class Episodes:
    """Late requests by rule, and the sum of squares of their episodes; ``memory`` in seconds."""

    def __init__(self, rules: int, memory: float) -> None:
        self._memory = memory
        self._squares = np.zeros(rules)
        self._open = np.zeros(rules)
        self._lately = np.zeros(rules)
        self._seconds = 0.0

    def add(self, late: Vector) -> None:
        """Add the late requests of one second."""
        self._lately += late
        self._seconds += 1.0
        if self._seconds < QUIET:
            return
        goes_on = self._lately > LEAST
        self._squares = self._squares * exp(-self._seconds / self._memory) + np.where(goes_on, 0.0, self._open**2)
        self._open = np.where(goes_on, self._open + self._lately, 0.0)
        self._lately = np.zeros_like(self._lately)
        self._seconds = 0.0

    def go_on(self, squares: Vector) -> None:
        """Begin with the sum of the squares of episodes that have ended."""
        self._squares = squares

    def squares(self) -> Vector:
        """Return the sum of the squares of the episodes' late requests, that of the open one included."""
        squares: Vector = self._squares + (self._open + self._lately) ** 2
        return squares


@dataclass
class Record:
    """By rule. ``formulas``: which are forms of the formula; ``batch``: seconds within which those are compared.

    ``memory``: seconds after which a request counts 1/e in the shares.
    """

    formulas: NDArray[np.bool_]
    batch: float
    memory: float
    requests: float = 0.0
    late: list[Vector] = field(init=False)  # for each of LAGS
    cost: Vector = field(init=False)  # groups, mean of about the last hour
    present_cost: Vector = field(init=False)  # and of the last PRESENT seconds
    episodes: Episodes = field(init=False)
    seconds: float = 0.0  # that were observed
    unavoidable: float = 0.0  # late requests that no form of the formula could avoid
    _lately: Vector = field(init=False)
    _lately_seconds: float = 0.0

    def __post_init__(self) -> None:
        rules = len(self.formulas)
        self.late = [np.zeros(rules) for _ in LAGS]
        self.cost, self.present_cost = np.zeros(rules), np.zeros(rules)
        self.episodes = Episodes(rules, self.memory)
        self._lately = np.zeros(rules)

    def go_on(
        self, requests: float, seconds: float, *,
        unavoidable: float, late: list[Vector], squares: Vector, costs: tuple[Vector, Vector],
    ) -> None:  # fmt: skip
        """Begin with what another record had. ``costs``: of an hour, and of PRESENT seconds."""
        self.requests, self.seconds, self.unavoidable, self.late = requests, seconds, unavoidable, late
        self.cost, self.present_cost = costs
        self.episodes.go_on(squares)

    def add(self, late: list[Vector], known: float, paid: Vector) -> None:
        """Add a second: late requests for each of LAGS, of ``known`` whose wait was judged, and groups paid for."""
        fade = exp(-1.0 / self.memory)
        self.requests = self.requests * fade + known
        self.late = [old * fade + new for old, new in zip(self.late, late, strict=True)]
        self.episodes.add(late[0])
        self.unavoidable *= fade
        self.seconds += 1.0
        self.cost = _mean(self.cost, paid, seconds=self.seconds, memory=HOUR)
        self.present_cost = _mean(self.present_cost, paid, seconds=self.seconds, memory=PRESENT)
        self._lately += late[0]
        self._lately_seconds += 1.0
        if self._lately_seconds >= self.batch:
            self.unavoidable += float(self._lately[self.formulas].min())
            self._lately = np.zeros_like(self._lately)
            self._lately_seconds = 0.0

    def late_share(self) -> Vector:
        """Return the share of requests that each rule would have made late."""
        share: Vector = self.late[0] / max(self.requests, 1.0)
        return share

    def proven(self) -> Vector:
        """Return the share of late requests that is more than that of one episode."""
        late, one_episode = self.late[0], self.episodes.squares() / np.maximum(self.late[0], 1e-9)
        share: Vector = np.maximum(late - one_episode, 0.0) / max(self.requests, 1.0)
        return share

    def avoidable(self, *, allowed: float, lag: int = 0) -> Vector:
        """Return the share later than a lag, without what no form of the formula could avoid, if that is not proven.

        ``allowed``: the share that the promise allows.
        """
        unavoidable = 0.0 if self.proven()[self.formulas].max() > allowed else self.unavoidable
        share: Vector = np.maximum(self.late[lag] - unavoidable, 0.0) / max(self.requests, 1.0)
        return share

    def risk(self, *, allowed: float) -> Vector:
        """Return the share that each rule is taken to make late; ``allowed``: the share that the promise allows."""
        full, half, quarter = (self.avoidable(allowed=allowed, lag=one) for one in range(len(LAGS)))
        half = np.minimum(half, quarter)
        tail = half * (half / np.maximum(quarter, 1e-9)) ** 2
        risk: Vector = np.maximum(full, tail) + 1.0 / max(self.requests, 1.0)
        return risk


def _mean(before: Vector, new: Vector, *, seconds: float, memory: float) -> Vector:
    """Return an exponential mean without a bias at its beginning."""
    part = (1 - exp(-1 / memory)) / (1 - exp(-seconds / memory))
    mean: Vector = before + part * (new - before)
    return mean

"""Ejection of one backend: what it was seen to do, and when it is probed.

Least-outstanding routing alone would send everything to a backend that fails fast, because nothing stays outstanding
there. Which failure is the backend's own is decided elsewhere (blame.py).

    healthy  --no connection, or STRIKES strikes without a whole answer between-->  ejected
    healthy  --doubt: it failed a request, for whose fault is not known-->  healthy, a probe is due
    healthy  --bad probe-->   ejected
    ejected  --pause over-->  a probe is due  --good-->  healthy
                                              --bad-->   ejected, the pause doubled up to MAX_PAUSE

The first doubt is probed at once. The next probe of a doubt comes a pause later, and each good one doubles the pause up
to MAX_PAUSE until there is a whole answer. So neither poison nor a group that answers probes alone causes a storm of
probes or of retries.

A whole answer resets strikes and pauses. A good probe does not, because a probe may succeed where requests fail: a
backend that came back by a probe is on its last strike until it has answered a request.
When discovery reports that the group became ready, all failures are forgotten.

``epoch`` grows when the backend comes back: a failure of a request sent in an older epoch says nothing about it now.
``proof`` grows with each good probe: a request that failed here waits for the next one.
``lives`` grows with each good probe and each answer, so also where the pause before the next probe is long.
"""

import math
from dataclasses import dataclass

STRIKES = 3
MAX_PAUSE = 30.0


@dataclass(slots=True)
class Health:
    """State of one backend; ``base_pause`` in seconds, ``probe_at`` on the caller's clock.

    ``struck_out``: it is ejected because of strikes alone. ``worked_at``: when it last answered a request well.
    """

    base_pause: float
    ejected: bool = False
    struck_out: bool = False
    epoch: int = 0
    proof: int = 0
    lives: int = 0
    worked_at: float = -math.inf
    probe_at: float | None = None
    _strikes: int = 0
    _ejections: int = 0
    _good_probes: int = 0
    _no_probe_before: float = -math.inf
    _probe: int = 0
    _is_probed: bool = False

    def heard(self, epoch: int) -> None:
        """Record the beginning of any answer to a request that was sent in ``epoch``: the backend lives."""
        self.lives += epoch == self.epoch and not self.ejected

    def worked(self, epoch: int, now: float) -> None:
        """Record the beginning of a good answer to work."""
        if epoch == self.epoch and not self.ejected:
            self.worked_at = now

    def answered(self, epoch: int) -> None:
        """Record a whole good answer to a request that was sent in ``epoch``."""
        if epoch == self.epoch and not self.ejected:
            self._strikes = 0
            self._ejections = 0
            self._good_probes = 0

    def unreachable(self, *, epoch: int, now: float) -> None:
        """Record that a request sent in ``epoch`` found no connection."""
        if epoch == self.epoch and not self.ejected:
            self._eject(now)

    def doubt(self, *, epoch: int, now: float) -> None:
        """Record a failure of a request that was sent in ``epoch``, for whose fault is not known."""
        if epoch == self.epoch and not self.ejected and self.probe_at is None and not self._is_probed:
            self.probe_at = max(now, self._no_probe_before)

    def strike(self, *, now: float, may_eject: bool) -> None:
        """Record a failure that is the backend's own; ``may_eject``: others can do without it."""
        if self.ejected:
            return
        self._strikes += 1
        if may_eject and self._strikes >= STRIKES:
            self._eject(now)
            self.struck_out = True

    def start_probe(self) -> int:
        """Record that the due probe has started; return the token that its result must carry."""
        self.probe_at = None
        self._is_probed = True
        self._probe += 1
        return self._probe

    def probed(self, *, token: int, good: bool | None, now: float) -> None:
        """Record the result of a probe, None where there was none; one older than the last change is ignored."""
        if token != self._probe:
            return
        self._is_probed = False
        if good is None:
            self.probe_at = now + self.base_pause
        elif not good:
            self._eject(now)
        elif self.ejected:
            self._come_back()
            self._strikes = STRIKES - 1
        else:
            self.proof += 1
            self.lives += 1
            self._no_probe_before = now + self._pause(self._good_probes)
            self._good_probes = min(self._good_probes + 1, 64)

    def pardon(self) -> None:
        """Let a backend come back that strikes alone took out: there is no other. It is on its last strike."""
        if self.struck_out:
            self._come_back()
            self._strikes = STRIKES - 1

    def became_ready(self) -> None:
        """Forget all failures: discovery saw the group become ready."""
        self._ejections = self._good_probes = 0
        self._no_probe_before = -math.inf
        self._come_back()

    def _eject(self, now: float) -> None:
        self.ejected = True
        self.struck_out = False
        self._strikes = 0
        self._probe += 1
        self._is_probed = False
        self.probe_at = now + self._pause(self._ejections)
        # A larger exponent changes nothing beyond MAX_PAUSE, and would overflow in the end.
        self._ejections = min(self._ejections + 1, 64)

    def _come_back(self) -> None:
        self.ejected = self.struck_out = False
        self.probe_at = None
        self._strikes = 0
        self._probe += 1
        self._is_probed = False
        self.epoch += 1
        self.proof += 1
        self.lives += 1

    def _pause(self, failures: int) -> float:
        return min(self.base_pause * 2.0**failures, MAX_PAUSE)

"""Passive ejection of one backend.

Least-outstanding routing alone would send everything to a backend that fails fast, because nothing stays outstanding
there.

    healthy  --hard fault, or STRIKES soft faults without an answer between-->  ejected
    healthy  --soft fault-->  healthy, a probe is due at once
    ejected  --pause over-->  a probe is due  --good-->  healthy
                                              --bad-->   ejected, the pause doubled up to MAX_PAUSE

A real answer resets strikes and pause. A good probe does not, because a probe may succeed where requests fail: a
backend that came back by a probe is on its last strike until it has answered a request.
When discovery reports that the group became ready, all failures are forgotten.

``epoch`` grows when the backend comes back: a failure of a request sent in an older epoch says nothing about it now.
``proof`` grows with each sign that the backend works: a request that failed here waits for the next one.
"""

from dataclasses import dataclass

STRIKES = 3
MAX_PAUSE = 30.0


@dataclass(slots=True)
class Health:
    """State of one backend; ``base_pause`` in seconds, ``probe_at`` on the caller's clock."""

    base_pause: float
    ejected: bool = False
    epoch: int = 0
    proof: int = 0
    probe_at: float | None = None
    _strikes: int = 0
    _ejections: int = 0
    _probe: int = 0

    def answered(self, epoch: int) -> None:
        """Record a real answer to a request that was sent in ``epoch``."""
        if epoch == self.epoch and not self.ejected:
            self._strikes = 0
            self._ejections = 0

    def failed(self, *, epoch: int, hard: bool, now: float) -> None:
        """Record a failure of a request that was sent in ``epoch``."""
        if epoch != self.epoch or self.ejected:
            return
        self._strikes += 1
        if hard or self._strikes >= STRIKES:
            self._eject(now)
        elif self.probe_at is None:
            self.probe_at = now

    def start_probe(self) -> int:
        """Record that the due probe has started; return the token that its result must carry."""
        self.probe_at = None
        self._probe += 1
        return self._probe

    def probed(self, *, token: int, good: bool, now: float) -> None:
        """Record the result of a probe; a result older than the last change of state is ignored."""
        if token != self._probe:
            return
        if not good:
            self._eject(now)
        elif self.ejected:
            self._come_back()
            self._strikes = STRIKES - 1
        else:
            self.proof += 1

    def became_ready(self) -> None:
        """Forget all failures: discovery saw the group become ready."""
        self._ejections = 0
        self._come_back()

    def _eject(self, now: float) -> None:
        self.ejected = True
        self._strikes = 0
        self._probe += 1
        self.probe_at = now + min(self.base_pause * 2.0**self._ejections, MAX_PAUSE)
        # A larger exponent changes nothing beyond MAX_PAUSE, and would overflow in the end.
        self._ejections = min(self._ejections + 1, 64)

    def _come_back(self) -> None:
        self.ejected = False
        self.probe_at = None
        self._strikes = 0
        self._probe += 1
        self.epoch += 1
        self.proof += 1

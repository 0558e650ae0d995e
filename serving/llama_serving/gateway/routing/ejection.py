"""Passive ejection of one group.

Why it is needed: least-outstanding routing sends everything to a group that fails fast, since nothing stays
outstanding there.

    healthy  --hard fault, or STRIKES soft faults without an answer between-->  ejected
    healthy  --soft fault-->  healthy, a probe is due at once
    ejected  --pause over-->  a probe is due  --good-->  healthy
                                              --bad-->   ejected, the pause doubled up to MAX_PAUSE

A real answer sets strikes and pause back; a good probe does not, because a probe may succeed where requests fail: a
group that came back by a probe is on its last strike until it has really answered.
Discovery's word that the group became ready overrules everything.

``epoch`` grows when the group comes back: a failure of a request sent in an older epoch says nothing about it now.
``proof`` grows with each sign that the group works: a request that failed here waits for the next one.
"""

from dataclasses import dataclass

STRIKES = 3
MAX_PAUSE = 30.0


@dataclass(slots=True)
class Health:
    """State of one group; ``base_pause`` in seconds, ``probe_at`` on the caller's clock."""

    base_pause: float
    ejected: bool = False
    epoch: int = 0
    proof: int = 0
    probe_at: float | None = None
    _strikes: int = 0
    _ejections: int = 0
    _probe: int = 0

    def answered(self, epoch: int) -> None:
        """Note a real answer to a request that was sent in ``epoch``."""
        if epoch == self.epoch and not self.ejected:
            self._strikes = 0
            self._ejections = 0

    def failed(self, *, epoch: int, hard: bool, now: float) -> None:
        """Note a failure of a request that was sent in ``epoch``."""
        if epoch != self.epoch or self.ejected:
            return
        self._strikes += 1
        if hard or self._strikes >= STRIKES:
            self._eject(now)
        elif self.probe_at is None:
            self.probe_at = now

    def start_probe(self) -> int:
        """Note that the due probe is on its way; return the token with which its result must come back."""
        self.probe_at = None
        self._probe += 1
        return self._probe

    def probed(self, *, token: int, good: bool, now: float) -> None:
        """Note the result of a probe; one that was overtaken by other news is ignored."""
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

"""How long requests have a slot, and from that how long a new one would wait for one."""

from collections import deque
from math import sqrt

KNOWN_FROM = 5  # requests
KEPT = 64  # requests: the last ones tell of the present


class SlotTime:
    """The seconds of a slot of the last requests."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=KEPT)

    def note(self, seconds: float) -> None:
        """Record that a request has had a slot for so long."""
        self._seconds.append(seconds)

    def expected_wait(self, ahead: int, slots: int) -> float | None:
        """Return the seconds after which the request behind ``ahead`` others has a slot; None when it is not known.

        ``slots`` are taken. They become free one after the other, slots / mean a second, and n of them in a time whose
        error is sqrt(n) times what one takes. The answer is the mean and one such error.
        """
        if len(self._seconds) < KNOWN_FROM or not slots:
            return None
        each = sum(self._seconds) / len(self._seconds) / slots
        return each * (ahead + 1 + sqrt(ahead + 1))

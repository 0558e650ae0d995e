"""A timer for work that comes back every so many seconds."""

from collections.abc import Callable


class PeriodicTimer:
    """Due at once, and then ``seconds`` after it was last found due."""

    def __init__(self, seconds: float, *, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0

    def is_due(self) -> bool:
        """Return whether it is time; then the next time is ``seconds`` from now."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def make_due(self) -> None:
        """Make the timer due at once."""
        self._next = 0.0

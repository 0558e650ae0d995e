"""The rate at which requests complete, for the Retry-After of a rejected one."""

import math
from collections import deque

WINDOW = 60.0
MAX_RETRY_AFTER = 60


class CompletionRate:
    """Completions per second over the last ``WINDOW`` seconds, from a bounded sample."""

    def __init__(self, sample: int = 256) -> None:
        self._ends: deque[float] = deque(maxlen=sample)

    def note(self, now: float) -> None:
        """Record that a request has completed."""
        self._ends.append(now)

    def per_second(self, now: float) -> float:
        """Return the observed rate; 0 when nothing has ended within the window."""
        while self._ends and self._ends[0] < now - WINDOW:
            self._ends.popleft()
        if not self._ends:
            return 0.0
        # Two completions within a millisecond are not a rate of 2000 per second; a full sample may be that fast.
        shortest = 0.001 if len(self._ends) == self._ends.maxlen else 1.0
        return len(self._ends) / max(now - self._ends[0], shortest)

    def retry_after(self, waiting: int, now: float) -> int:
        """Return the whole seconds after which ``waiting`` requests will have left the queue, 1 to 60."""
        rate = self.per_second(now)
        if rate == 0.0:
            return MAX_RETRY_AFTER
        return min(max(math.ceil(waiting / rate), 1), MAX_RETRY_AFTER)

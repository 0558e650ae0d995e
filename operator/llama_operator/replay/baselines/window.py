"""Values of the last seconds."""

from collections import deque


class Window:
    """Values with their time; those older than ``seconds`` are forgotten."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Take in a value."""
        self._values.append((now, value))
        self.prune(now)

    def mean(self) -> float:
        """Compute the mean; 0 when there is nothing."""
        return sum(value for _, value in self._values) / len(self._values) if self._values else 0.0

    def max(self) -> float:
        """Return the largest value; 0 when there is nothing."""
        return max((value for _, value in self._values), default=0.0)

    def sum(self) -> float:
        """Add up the values."""
        return sum(value for _, value in self._values)

    def prune(self, now: float) -> None:
        """Forget what is older than the window at this moment."""
        while self._values and self._values[0][0] <= now - self.seconds:
            self._values.popleft()

"""Pauses between tries: 1 s after the first failure, twice as long after each further one, at most 30 s, with jitter.

A watch that ends within ``steady`` seconds counts as a failure, whatever it showed: else a server that ends every watch
at once would be asked without a pause. Only a watch that lasted ends a series of failures; a list that is answered does
not, since the watch after it may fail again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_serving.config.backoff import doubling_pause


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds: of pauses, and of what is waited for."""

    first: float = 1.0  # pause after the first failure
    longest: float = 30.0  # pause
    steady: float = 10.0  # after which a watch has lasted
    deadline: float = 20.0  # of an answer, or of the head of a watch
    silence: float = 90.0  # of a watch; bookmarks come about once a minute
    relist: float = 600.0  # of bookmarks alone, after which the list is read again


TIMES: Final = Times()


@dataclass
class Pace:
    """How one path has gone lately."""

    times: Times = TIMES
    jitter: Callable[[], float] = random.random  # 0 to 1
    failures: int = 0  # one after the other

    def failed(self, *, at_least: float = 0.0) -> float:
        """Count a failure; return the seconds to wait, from half of the pause to all of it."""
        self.failures += 1
        pause = doubling_pause(self.failures, first=self.times.first, longest=self.times.longest)
        return max(pause * (0.5 + self.jitter() / 2), at_least)

    def ended(self, lasted: float) -> float:
        """Count a watch that ended after so many seconds; return the seconds to wait before the next."""
        return 0.0 if self.lasted(lasted) else self.failed()

    def lasted(self, seconds: float) -> bool:
        """Tell whether a watch of so many seconds has lasted: it ends a series of failures, however it ended."""
        if seconds < self.times.steady:
            return False
        self.failures = 0
        return True

"""Pauses between tries: 1 s after the first failure, twice as long after each further one, at most 30 s, with jitter.

A watch that ends within STEADY seconds counts as a failure, whatever it showed: else a server that ends every watch at
once would be asked without a pause. Only a watch that lasted ends a series of failures; a list that is answered does
not, since the watch after it may fail again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_serving.config.backoff import doubling_pause

FIRST: Final = 1.0  # seconds
LONGEST: Final = 30.0
STEADY: Final = 10.0  # seconds after which a watch has lasted


@dataclass
class Pace:
    """How one path has gone lately."""

    jitter: Callable[[], float] = random.random  # 0 to 1
    failures: int = 0  # one after the other

    def failed(self, *, at_least: float = 0.0) -> float:
        """Count a failure; return the seconds to wait, from half of the pause to all of it."""
        self.failures += 1
        pause = doubling_pause(self.failures, first=FIRST, longest=LONGEST)
        return max(pause * (0.5 + self.jitter() / 2), at_least)

    def ended(self, lasted: float) -> float:
        """Count a watch that ended after so many seconds; return the seconds to wait before the next."""
        if lasted < STEADY:
            return self.failed()
        self.failures = 0
        return 0.0

"""Since when lists are wanted that the API server does not give: what the liveness probe asks beside the loops."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Listings:
    """What is wanted, by a name such as a path, and since when."""

    clock: Callable[[], float]
    wanted: dict[str, float] = field(default_factory=dict)

    def want(self, what: str) -> None:
        """Note that a list is needed; one that is wanted already keeps its time."""
        self.wanted.setdefault(what, self.clock())

    def got(self, what: str) -> None:
        """Note that it came, or that nobody needs it any more."""
        self.wanted.pop(what, None)

    def late(self) -> float:
        """Return for how many seconds the longest has been wanted; 0 when none is."""
        now = self.clock()
        return max((now - since for since in self.wanted.values()), default=0.0)

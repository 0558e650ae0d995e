"""What share of the requests waited no longer than promised: of the last hour, the last day and since a change."""

from dataclasses import dataclass, replace
from math import exp

HOUR, DAY = 3600.0, 86_400.0  # seconds


@dataclass(frozen=True)
class KeptShare:
    """Requests whose wait was judged, and the late ones among them; those before ``memory`` seconds count 1/e."""

    memory: float = float("inf")
    requests: float = 0.0
    late: float = 0.0

    def after(self, *, requests: float, late: float) -> "KeptShare":
        """Add a second."""
        fade = exp(-1.0 / self.memory)
        return replace(self, requests=self.requests * fade + requests, late=self.late * fade + late)

    @property
    def share(self) -> float | None:
        """Return the share in time; None before a request came."""
        return 1.0 - self.late / self.requests if self.requests >= 0.5 else None


@dataclass(frozen=True)
class Kept:
    """The promise and its keeping. A fresh one knows nothing."""

    hour: KeptShare = KeptShare(HOUR)
    day: KeptShare = KeptShare(DAY)
    since_change: KeptShare = KeptShare()

    def after(self, *, requests: float, late: float) -> "Kept":
        """Add a second."""
        return Kept(*(one.after(requests=requests, late=late) for one in (self.hour, self.day, self.since_change)))

    def changed(self) -> "Kept":
        """Begin anew what counts from a change of the rule on."""
        return replace(self, since_change=KeptShare())

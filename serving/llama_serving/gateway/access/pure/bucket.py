"""A limit per minute: a bucket that holds one minute's worth and refills evenly, of which several gateways take.

    level <= limit,  level grows by limit / 60 per second,  a request takes its cost; what it costs more in the end, too

The long-term rate is therefore the limit exactly, whatever was expected of a request; a bucket may be in debt. A
request that costs more than the whole limit goes when the bucket is full.

Several gateways keep one bucket each and tell each other once a second what they took. Between two exchanges each takes
at most its share of what was left at the last one, or one request: so N gateways together overrun what is left by at
most N - 1 requests. Those that hear of each other keep together the part of the limit that is theirs: of N gateways
that know of each other, R that can be reached keep R / N of it.
"""

from typing import Final

MINUTE: Final = 60.0
#: Seconds between two exchanges.
EXCHANGE: Final = 1.0


class Bucket:
    """Tokens or requests of one client; times in seconds of the caller's clock.

    ``used``: what was taken here since the start, less what was given back.
    """

    __slots__ = ("_at", "_capacity", "_from_sync", "_share", "_synced", "level", "limit", "used")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self.level = float(limit)
        self.used = 0.0
        self._at = now
        self._capacity = float(limit)
        self._share = 1.0
        self._synced = self.level
        self._from_sync = 0.0

    def take(self, cost: float, now: float) -> float:
        """Take ``cost`` and return 0; or take nothing and return the seconds after which there is enough."""
        self.refill(now)
        need = min(cost, self._capacity)
        if self.level < need:
            return (need - self.level) * MINUTE / self._capacity
        if self._share < 1.0 and self._from_sync and self._from_sync + cost > self._synced * self._share:
            return EXCHANGE
        self.level -= cost
        self.used += cost
        self._from_sync += cost
        return 0.0

    def settle(self, more: float) -> None:
        """Take what a request cost more than expected; give back where ``more`` is negative."""
        self.level = min(self.level - more, self._capacity)
        self.used += more
        self._from_sync += more

    def hear(self, taken: float, now: float) -> None:
        """Take what another gateway took since it told last."""
        self.refill(now)
        self.level = min(self.level - taken, self._capacity)

    def adopt(self, level: float, now: float) -> None:
        """Hear what is left by a gateway that was here before."""
        self.refill(now)
        self.level = min(self.level, level)

    def sync(self, now: float, *, peers: int, reached: int) -> None:
        """Begin another period: of ``peers`` gateways, this one included, ``reached`` hear of each other."""
        self.refill(now)
        self._capacity = self.limit * reached / peers
        self.level = min(self.level, self._capacity)
        self._share = 1.0 / reached
        self._synced, self._from_sync = max(self.level, 0.0), 0.0

    def change(self, limit: int, now: float) -> None:
        """Take over another limit: what was taken of the old one stays taken."""
        self.refill(now)
        self.level += limit - self.limit
        self._capacity *= limit / self.limit
        self.limit = limit

    def refill(self, now: float) -> None:
        """Let time pass."""
        if now > self._at:
            self.level = min(self.level + (now - self._at) * self._capacity / MINUTE, self._capacity)
            self._at = now

    @property
    def until_full(self) -> float:
        """Seconds until nothing is missing."""
        return max(self._capacity - self.level, 0.0) * MINUTE / self._capacity

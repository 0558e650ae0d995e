"""When a group that starts is expected to serve: told by the operator with each look at the load, kept for a minute."""

import math

LONGEST = 3600  # seconds that a client is told to wait
KEPT = 60.0  # seconds; an operator that is not there tells nothing
UNKNOWN = 60  # seconds that a client is told to wait where nobody knows


class ExpectedStart:
    """The last that was told, on the caller's clock."""

    def __init__(self) -> None:
        self._serves_at = 0.0
        self._told_at = -math.inf

    def tell(self, seconds: float, now: float) -> None:
        """Take over what the operator expects: seconds from now until a group serves."""
        self._serves_at, self._told_at = now + seconds, now

    def retry_after(self, now: float) -> int:
        """Return the whole seconds after which a client finds a group that serves, 1 to LONGEST."""
        if now - self._told_at > KEPT:
            return UNKNOWN
        return min(max(math.ceil(self._serves_at - now), 1), LONGEST)

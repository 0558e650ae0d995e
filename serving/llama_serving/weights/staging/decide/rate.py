"""How far some weights are, as numbers and as one clause.

The rate is smoothed: each second that passes keeps ``exp(-1 / WINDOW)`` of the rate before. The time left is the bytes
left over the rate; it is not known before there is a rate.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from llama_serving.config.wording import bytes_text, bytes_unit, in_unit, rough_seconds, unit_name

WINDOW: Final = 5.0  # seconds
_STEP: Final = 0.25  # seconds between two measurements


@dataclass
class RateMeter:
    """A smoothed rate in bytes per second."""

    began: float
    rate: float = 0.0
    _pending: int = 0
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.began

    def add(self, count: int, *, now: float) -> None:
        """Note that ``count`` bytes came."""
        self._pending += count
        seconds = now - self._since
        if seconds < _STEP:
            return
        # Early on the mean since the start is the better estimate: the weight of what was before grows with time.
        kept = math.exp(-seconds / WINDOW) * min(1.0, (self._since - self.began) / WINDOW)
        self.rate = kept * self.rate + (1 - kept) * self._pending / seconds
        self._pending, self._since = 0, now


def seconds_left(*, left: int, rate: float) -> float | None:
    """Return the seconds until ``left`` bytes are there; None while the rate is below 1 byte per second."""
    if left <= 0:
        return 0.0
    return left / rate if rate >= 1 else None


def progress_text(activity: str, *, done: int, total: int, rate: float) -> str:
    """Return a clause such as ``downloading: 1.2 of 3.4 GB, 210 MB/s, 10 s left``."""
    left = seconds_left(left=total - done, rate=rate)
    unit = bytes_unit(total)
    parts = [f"{activity}: {in_unit(done, unit)} of {in_unit(total, unit)} {unit_name(unit)}"]
    if left is not None and done < total:
        parts += [f"{bytes_text(int(rate))}/s", f"{rough_seconds(left)} left"]
    return ", ".join(parts)

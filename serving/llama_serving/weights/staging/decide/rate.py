"""How far some weights are, as numbers and as one sentence.

The rate is smoothed: each second that passes keeps ``exp(-1 / WINDOW)`` of the rate before. The time left is the bytes
left over the rate; it is not known before there is a rate.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from llama_serving.config.wording import rough_seconds

WINDOW: Final = 5.0  # seconds
_STEP: Final = 0.25  # seconds between two measurements


@dataclass
class Meter:
    """A smoothed rate in bytes per second."""

    began: float
    rate: float = 0.0
    _total: int = 0
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
    """Seconds until ``left`` bytes are there; None while nobody can say."""
    if left <= 0:
        return 0.0
    return left / rate if rate >= 1 else None


def sentence(*, verb: str, done: int, total: int, rate: float) -> str:
    """Such as ``downloading: 1.2 of 3.4 GB, 210 MB/s, 10 s left``."""
    left = seconds_left(left=total - done, rate=rate)
    unit = _unit(total)
    parts = [f"{verb}: {_number(done, unit)} of {_number(total, unit)} {_NAMES[unit]}"]
    if left is not None and done < total:
        parts += [f"{size(int(rate))}/s", f"{rough_seconds(left)} left"]
    return ", ".join(parts)


def size(count: int) -> str:
    """Bytes in the unit that fits: 3.4 GB."""
    unit = _unit(count)
    return f"{_number(count, unit)} {_NAMES[unit]}"


_NAMES: Final = {1: "B", 10**3: "kB", 10**6: "MB", 10**9: "GB", 10**12: "TB"}


def _unit(count: int) -> int:
    return max(unit for unit in _NAMES if unit <= max(count, 1))


def _number(count: int, unit: int) -> str:
    value = count / unit
    return f"{value:.0f}" if unit == 1 or value >= 100 else f"{value:.1f}"

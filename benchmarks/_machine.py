"""What the machine itself did while something was measured: its noise, as far as the kernel tells it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE, _STOLEN = (3, 4), 7  # fields of its first line, man 5 proc_stat; "iowait" is idle too


@dataclass(frozen=True)
class Shares:
    """Parts of the machine's CPU time, 0 to 1."""

    busy: float
    stolen: float  # by the hypervisor for other guests

    def __str__(self) -> str:
        return f"cores {self.busy:.0%} busy, {self.stolen:.0%} stolen"


@dataclass
class Cores:
    """Samples of the kernel's counters, on the clock of ``time.monotonic``."""

    samples: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)

    def take(self) -> None:
        """One more sample."""
        words = _STAT.read_text().split("\n", 1)[0].split()[1:9]
        self.samples.append((time.monotonic(), tuple(map(int, words))))

    def between(self, start: float, end: float) -> Shares:
        """Shares of the intervals that touch this time; all of them when it is infinite."""
        spans = [
            (before, after)
            for (begun, before), (ended, after) in pairwise(self.samples)
            if ended >= start and begun <= end
        ]
        if not spans:
            return Shares(0, 0)
        spent = [after - before for before, after in zip(spans[0][0], spans[-1][1], strict=True)]
        total = sum(spent) or 1
        return Shares(1 - sum(spent[kind] for kind in _IDLE) / total, spent[_STOLEN] / total)


@contextlib.asynccontextmanager
async def watched_cores(every: float = 1.0) -> AsyncIterator[Cores]:
    """Take a sample each ``every`` seconds while the block runs."""
    cores = Cores()

    async def sample() -> None:
        while True:
            cores.take()
            await asyncio.sleep(every)

    task = asyncio.create_task(sample())
    try:
        yield cores
    finally:
        task.cancel()
        cores.take()

"""Trying again: Busy and Broken heal, so it is asked again from where it was, until a deadline without progress.

The wait before the n-th try is what the source asked for, else ``first * 2 ** (n - 1)`` seconds, at most ``longest``;
up to a quarter is added, so that stages that were refused together do not come back together.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from llama_serving.weights.source.interface import Broken, Busy, Source

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to try, in seconds; clock, sleep and chance come in so that tests need no time."""

    deadline: float = 900.0  # since the last byte or answer
    first: float = 1.0
    longest: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    tell: Callable[[str], None] = lambda _: None  # gets a sentence before each wait

    def wait(self, tries: int, error: Busy | Broken) -> float:
        """Seconds to wait after ``tries`` failures in a row."""
        asked = error.after if isinstance(error, Busy) else None
        base = min(self.first * 2.0 ** min(tries - 1, 30), self.longest) if asked is None else asked
        return base * (1 + self.chance() / 4)


class _Tries:
    """Failures in a row since the last progress."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.progress()

    def progress(self) -> None:
        self._count = 0
        self._since = self._patience.clock()

    async def failed(self, error: Busy | Broken) -> None:
        """Wait for the next try; raises ``error`` when it would come after the deadline."""
        self._count += 1
        wait = self._patience.wait(self._count, error)
        spent = self._patience.clock() - self._since
        if spent + wait > self._patience.deadline:
            raise error
        self._patience.tell(f"{error}; trying again in {wait:.1f} s (failure {self._count} in a row)")
        await self._patience.sleep(wait)


async def patiently(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """What ``call`` gives. Raises Denied and Gone at once, Busy and Broken after the deadline."""
    tries = _Tries(patience)
    while True:
        try:
            return await call()
        except (Busy, Broken) as error:
            await tries.failed(error)


async def read_patiently(
    source: Source, path: str, *, begin: int = 0, end: int | None = None, patience: Patience
) -> AsyncIterator[bytes]:
    """Bytes ``[begin, end)`` without a gap or a repeat, over as many connections as it takes.

    Raises:
        Denied, Gone: at once.
        Busy, Broken: after the deadline without a byte.
    """
    tries = _Tries(patience)
    while True:
        try:
            async for piece in source.read(path, begin=begin, end=end):
                begin += len(piece)
                tries.progress()
                yield piece
            return
        except (Busy, Broken) as error:
            await tries.failed(error)

"""Retries: Busy and Broken pass, so a read goes on from its last byte, until a deadline without progress.

The pause before the n-th retry is what the source asked for, else ``first * 2 ** (n - 1)`` seconds, at most
``longest``; up to a quarter is added, so that stages that were refused together do not come back together.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from llama_serving.config.backoff import doubling_pause
from llama_serving.weights.source.interface import Broken, Busy, Source

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try, in seconds; clock, sleep and jitter are arguments so that tests need no time."""

    deadline: float = 900.0  # since the last byte or answer
    first: float = 1.0
    longest: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random  # 0 to 1
    notify: Callable[[str], None] = lambda _: None  # gets a clause before each pause

    def pause(self, failures: int, error: Busy | Broken) -> float:
        """Return the seconds to wait after so many failures in a row."""
        asked = error.after if isinstance(error, Busy) else None
        pause = doubling_pause(failures, first=self.first, longest=self.longest) if asked is None else asked
        return pause * (1 + self.jitter() / 4)


class _FailureCount:
    """Failures in a row since the last progress."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self.progress()

    def progress(self) -> None:
        self._count = 0
        self._since = self._retry.clock()

    async def failed(self, error: Busy | Broken) -> None:
        """Wait for the next try; raise ``error`` when it would come after the deadline."""
        self._count += 1
        pause = self._retry.pause(self._count, error)
        spent = self._retry.clock() - self._since
        if spent + pause > self._retry.deadline:
            raise error
        self._retry.notify(f"{error}; trying again in {pause:.1f} s (failure {self._count} in a row)")
        await self._retry.sleep(pause)


async def with_retries(call: Callable[[], Awaitable[T]], retry: RetryPolicy) -> T:
    """Return what ``call`` returns. Raises Denied and Gone at once, Busy and Broken after the deadline."""
    failures = _FailureCount(retry)
    while True:
        try:
            return await call()
        except (Busy, Broken) as error:
            await failures.failed(error)


async def read_with_retries(
    source: Source, path: str, *, begin: int = 0, end: int | None = None, retry: RetryPolicy
) -> AsyncIterator[bytes]:
    """Yield bytes ``[begin, end)`` without a gap or a repeat, over as many connections as it takes.

    Raises:
        Denied, Gone: at once.
        Busy, Broken: after the deadline without a byte.
    """
    failures = _FailureCount(retry)
    while True:
        try:
            async for piece in source.read(path, begin=begin, end=end):
                begin += len(piece)
                failures.progress()
                yield piece
            return
        except (Busy, Broken) as error:
            await failures.failed(error)

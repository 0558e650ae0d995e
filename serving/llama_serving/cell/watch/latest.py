"""Asks one question again and again beside everything else, and keeps the last answer with its time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

PERIOD: Final = 0.5  # seconds between two questions

T = TypeVar("T")


class Latest(Generic[T]):
    """The last answer to ``ask``; None is no answer. Who waits for an answer keeps nobody else waiting."""

    def __init__(self, ask: Callable[[], Awaitable[T | None]], *, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._since = clock()
        self.answer: T | None = None

    @property
    def age(self) -> float:
        """Seconds since the last answer, or since the first question."""
        return self._clock() - self._since

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Ask once."""
        answer = await self._ask()
        if answer is not None:
            self.answer, self._since = answer, self._clock()

"""Several reads at once, bounded; the first that fails ends the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def together(function: Callable[[S], Awaitable[T]], items: Iterable[S], *, most: int) -> list[T]:
    """``function`` of each item, in their order, with at most ``most`` running.

    Raises the first failure, after the others have been cancelled and have ended.
    """
    gate = asyncio.Semaphore(most)

    async def one(item: S) -> T:
        async with gate:
            return await function(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

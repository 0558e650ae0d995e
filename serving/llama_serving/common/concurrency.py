"""Calls that run at the same time, at most so many; the first failure ends the others, and none outlives the call."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def map_concurrently(function: Callable[[S], Awaitable[T]], items: Iterable[S], *, limit: int) -> list[T]:
    """Return ``function`` of each item, in the order of the items; calls begin in order, at most ``limit`` run.

    Raises the first failure, after the other calls have been cancelled and have ended.
    """
    waiting = deque(enumerate(items))
    results: dict[int, T] = {}

    async def work() -> None:
        while waiting:
            number, item = waiting.popleft()
            results[number] = await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(waiting))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
    else:
        return [results[number] for number in sorted(results)]
    raise first


async def in_thread(pool: Executor, call: Callable[..., T], *arguments: Any) -> T:
    """Return ``call(*arguments)``. When cancelled, wait for the call: a file must not be closed while it runs."""
    future = asyncio.get_running_loop().run_in_executor(pool, call, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise

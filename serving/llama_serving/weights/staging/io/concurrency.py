"""Several things at a time: streams in tasks, what blocks in threads. Nothing is left running after an error."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

#: Streams from a source, and threads that hash and write what they bring.
STREAMS = 4


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, streams: int = STREAMS) -> None:
    """``work`` on every item, in order, ``streams`` at a time. The first error ends all and is raised itself."""
    left = deque(items)

    async def stream() -> None:
        while left:
            await work(left.popleft())

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(streams, len(left))):
                group.create_task(stream())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def in_thread(pool: Executor, call: Callable[..., T], *arguments: Any) -> T:
    """``call(*arguments)``. When this is cancelled, it waits for the call: a file must not be closed under it."""
    future = asyncio.get_running_loop().run_in_executor(pool, call, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise

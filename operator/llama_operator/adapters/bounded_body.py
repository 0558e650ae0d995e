"""A body of HTTP, read up to a limit."""

from collections.abc import Callable

import aiohttp

from llama_operator.bounds.json_text import OverLimitError


def uncounted(_: int) -> None:
    """Count nothing."""


async def read_up_to(
    response: aiohttp.ClientResponse, limit: int, *, count: Callable[[int], None] = uncounted
) -> bytes:
    """Read a body; ``count`` is told of its bytes so far and may raise.

    Raises OverLimitError for more than ``limit`` bytes; the connection is closed then.
    """
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            raise OverLimitError(f"has more than {limit} bytes, which is the limit")
        count(size)
        parts.append(chunk)
    return b"".join(parts)

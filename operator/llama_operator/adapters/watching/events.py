"""The events of a watch: lines of JSON, bounded and checked before anybody relies on them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from llama_operator.adapters.watching.pace import Times
from llama_operator.ports import Manifest, Retry
from llama_serving.config.wording import clause

#: Bytes of a line. etcd holds objects of 1.5 MiB; escapes of JSON make a text at most six times longer.
LINE: Final = 12 << 20
_SHOWN: Final = 200  # characters of what an ERROR says
_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})


class BrokenWatch(Retry):
    """What a watch sends cannot be relied on: only a new list tells what there is."""


async def lines(
    stream: aiohttp.StreamReader, *, limit: int = LINE, silence: float = Times.silence
) -> AsyncIterator[bytes]:
    """Yield the lines of a body that are not empty.

    Raises BrokenWatch for a longer line, and for silence; TimeoutError when the time of the whole request is over.
    """
    held: list[bytes] = []
    size = 0
    while chunk := await _chunk(stream, silence):
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            line = b"".join((*held, piece))
            held, size = [], 0
            if line.strip():
                yield line
        size += len(rest)
        if size > limit:
            raise BrokenWatch(f"a line has more than {limit} bytes, which is the limit")
        if rest:
            held.append(rest)
    if (line := b"".join(held)).strip():
        yield line


async def _chunk(stream: aiohttp.StreamReader, silence: float) -> bytes:
    limit = asyncio.timeout(silence)
    try:
        async with limit:
            return await stream.readany()
    except RuntimeError as error:  # of a stream whose connection is gone
        raise aiohttp.ClientConnectionError(str(error)) from error
    except TimeoutError:
        if not limit.expired():  # the time of the whole request is over
            raise
        raise BrokenWatch(f"it was silent for {silence:.0f} s") from None


def event_of(line: bytes, *, identified: bool = False) -> Manifest:
    """Return the event of a line. ``identified``: its object must have a uid, not just a name.

    Raises BrokenWatch for an ERROR of any code, for what is no event, and for an object without a name.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        raise BrokenWatch(f"a line of {len(line)} bytes is no JSON, or is cut") from None
    kind = event.get("type") if isinstance(event, dict) else None
    if kind == "ERROR":
        raise BrokenWatch(f"the API server ends it: {_said(event.get('object'))}")
    if kind not in _CHANGES and kind != "BOOKMARK":
        raise BrokenWatch(f"a line is no event: its type is {str(kind)[:20]!r}")
    if kind in _CHANGES and not is_object(event.get("object"), identified=identified):
        raise BrokenWatch(f"an event {kind} has no object with a name{' and a uid' if identified else ''}")
    found: Manifest = event
    return found


def is_object(body: Any, *, identified: bool = True) -> bool:
    """Tell whether this is an object of Kubernetes as far as everybody relies on it."""
    meta = body.get("metadata") if isinstance(body, dict) else None
    needed = ("name", "uid") if identified else ("name",)
    return isinstance(meta, dict) and all(isinstance(meta.get(key), str) and meta[key] for key in needed)


def _said(status: Any) -> str:
    if not isinstance(status, dict):
        return "without a reason"
    return clause(f"{status.get('code', '')} {status.get('reason', '')} {status.get('message', '')}"[:_SHOWN])

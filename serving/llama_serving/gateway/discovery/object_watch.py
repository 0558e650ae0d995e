"""Objects of one kind by list and watch, with plain aiohttp: the generated client costs 20 MB and most of the start.

    list -> publish -> watch from the list's version -> events, each published -> the watch ends -> watch again

After a watch that ended normally the next one starts at the last version seen. 410 or an event of type ERROR means that
this version has expired: list again. While the API server cannot be reached nothing is published: what was known last
stays in use.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import aiohttp

from llama_serving.common.kube_access import Access, AccessError
from llama_serving.gateway.telemetry.log import LOGGER, fields

T = TypeVar("T")

# Something between us and the API server may answer in any other shape, and as deep as it likes.
_OTHER_SHAPE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, AccessError, *_OTHER_SHAPE)
#: Bytes of a list and of one event that are read: 2000 pods with long annotations are 64 MiB.
LONGEST_LIST: Final = 128 << 20
LONGEST_EVENT: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Seconds. ``silence``: the API server sends a bookmark about once a minute, so a longer pause is a dead link."""

    request: float = 10
    watch: float = 240
    silence: float = 150
    backoff: float = 0.5
    max_backoff: float = 15


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to watch: ``what`` in words, ``selector`` as a parameter of the query."""

    what: str
    path: str
    selector: tuple[str, str]


class ExpiredVersionError(Exception):
    """The resource version of the watch has expired at the API server."""


class ObjectWatch(Generic[T]):
    """Watches some objects; ``parse`` makes of each what is published, or None where it is of no use."""

    def __init__(
        self,
        wanted: Wanted,
        parse: Callable[[dict[str, Any]], T | None],
        *,
        access: Callable[[], Access],
        times: WatchTimes | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._wanted = wanted
        self._parse = parse
        self._access = access
        self._times = times or WatchTimes()
        self._jitter = jitter
        self._objects: dict[str, T] = {}
        self._version = ""
        self._failures = 0

    async def run(self, publish: Callable[[Mapping[str, T]], None]) -> None:
        """Publish all objects, by uid, whenever they change, until cancelled."""
        while True:
            try:
                await self._cycle(publish)
                # A server that ends every watch at once must not be polled without a pause; no event is missed.
                await asyncio.sleep(self._times.backoff * self._jitter())
            except ExpiredVersionError as error:
                self._version = ""
                LOGGER.info(f"watch expired, listing {self._wanted.what} again", extra=fields(reason=str(error)))
                await asyncio.sleep(self._times.backoff * self._jitter())
            except _FAILURES as error:
                self._failures += 1
                pause = retry_pause(self._times, failures=self._failures, jitter=self._jitter())
                reason = f"{type(error).__name__}: {error}"
                LOGGER.warning(
                    f"API server unreachable, keeping the last known {self._wanted.what}",
                    extra=fields(reason=reason, failures=self._failures, retry_in=round(pause, 2)),
                )
                await asyncio.sleep(pause)

    async def _cycle(self, publish: Callable[[Mapping[str, T]], None]) -> None:
        access = self._access()
        connector = aiohttp.TCPConnector(ssl=access.tls if access.tls is not None else True)
        async with aiohttp.ClientSession(access.url, headers=access.headers, connector=connector) as session:
            if not self._version:
                await self._list(session)
                publish(self._objects)
            async for event in self._watch(session):
                if self._take(event):
                    publish(self._objects)

    async def _list(self, session: aiohttp.ClientSession) -> None:
        timeout = aiohttp.ClientTimeout(total=self._times.request)
        params = dict([self._wanted.selector])
        async with session.get(self._wanted.path, params=params, timeout=timeout) as response:
            response.raise_for_status()
            body = json.loads(await _whole(response.content))
        parsed = {item["metadata"]["uid"]: self._parse(item) for item in body["items"]}
        self._objects = {key: one for key, one in parsed.items() if one is not None}
        self._version = body["metadata"]["resourceVersion"]
        self._failures = 0

    async def _watch(self, session: aiohttp.ClientSession) -> AsyncIterator[dict[str, Any]]:
        # Half of it is random, so that the gateways do not reconnect all at once.
        seconds = self._times.watch * (0.5 + self._jitter() / 2)
        params = {
            **dict([self._wanted.selector]),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=self._times.request, sock_read=self._times.silence)
        async with session.get(self._wanted.path, params=params, timeout=timeout) as response:
            if response.status == 410:
                raise ExpiredVersionError("410 Gone")
            response.raise_for_status()
            self._failures = 0
            async for line in read_lines(response.content):
                yield json.loads(line)

    def _take(self, event: dict[str, Any]) -> bool:
        """Apply an event; return whether the objects have changed."""
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise ExpiredVersionError(str(item.get("message", "410 Gone")))
            self._version = ""
            raise ValueError(f"the watch ended with an error: {item.get('message', item)}")
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return False
        key = item["metadata"]["uid"]
        before = self._objects.get(key)
        after = None if kind == "DELETED" else self._parse(item)
        if after is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = after
        return before != after


def retry_pause(times: WatchTimes, *, failures: int, jitter: float) -> float:
    """Return the seconds to wait after so many failures in a row; ``jitter``, from 0 to 1, varies half of them."""
    longest = min(times.backoff * 2.0 ** min(failures - 1, 16), times.max_backoff)
    return longest * (0.5 + jitter / 2)


async def read_lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines of up to ``LONGEST_EVENT`` bytes: a pod may exceed the limit of aiohttp's own line reader."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > LONGEST_EVENT:
            raise ValueError(f"an event of the watch has more than {LONGEST_EVENT} bytes")
    if rest.strip():
        raise ValueError("the watch ended in the middle of an event")


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > LONGEST_LIST:
            raise ValueError(f"the list has more than {LONGEST_LIST} bytes")
    return bytes(body)

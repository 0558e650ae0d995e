"""Leaders' pods by list and watch, with plain aiohttp: the generated client costs 20 MB and most of the start's time.

    list -> publish -> watch from the list's version -> events, each published -> the watch ends -> watch again

A watch that ended well goes on from the last version seen. 410, or any event of type ERROR, means that this version
is too old: list again. While nothing can be reached nothing is published: the last known groups stay in use.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from llama_serving.common.kube_access import Access, AccessError
from llama_serving.gateway.discovery import Publish
from llama_serving.gateway.discovery.pods import leader_selector, parse_endpoint
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.routing.endpoint import Endpoint

# KeyError and TypeError: something between us and the API server answered in another shape.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, AccessError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Seconds. ``silence``: the API server sends a bookmark about once a minute, so a longer one is a dead link."""

    request: float = 10
    watch: float = 240
    silence: float = 150
    backoff: float = 0.5
    max_backoff: float = 15


class ExpiredVersionError(Exception):
    """The API server no longer knows what happened since the version that the watch began with."""


class KubernetesDiscovery:
    """Watches the leaders of one deployment; implements Discovery."""

    def __init__(
        self,
        *,
        deployment: str,
        namespace: str,
        access: Callable[[], Access],
        times: WatchTimes | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._selector = leader_selector(deployment)
        self._access = access
        self._times = times or WatchTimes()
        self._jitter = jitter
        self._targets: dict[str, Endpoint] = {}
        self._version = ""
        self._failures = 0

    async def run(self, publish: Publish) -> None:
        """Publish all groups whenever they change, until cancelled."""
        while True:
            try:
                await self._cycle(publish)
                # A server that ends every watch at once must not be asked without a pause; nothing is missed by it.
                await asyncio.sleep(self._times.backoff * self._jitter())
            except ExpiredVersionError as error:
                self._version = ""
                LOGGER.info("pods are listed anew", extra=fields(reason=str(error)))
                await asyncio.sleep(self._times.backoff * self._jitter())
            except _FAILURES as error:
                self._failures += 1
                pause = self._pause()
                reason = f"{type(error).__name__}: {error}"
                LOGGER.warning(
                    "the API server is out of reach, the last known groups stay in use",
                    extra=fields(reason=reason, failures=self._failures, retry_in=round(pause, 2)),
                )
                await asyncio.sleep(pause)

    async def _cycle(self, publish: Publish) -> None:
        access = self._access()
        connector = aiohttp.TCPConnector(ssl=access.tls if access.tls is not None else True)
        async with aiohttp.ClientSession(access.url, headers=access.headers, connector=connector) as session:
            if not self._version:
                await self._list(session)
                publish(tuple(self._targets.values()))
            async for event in self._watch(session):
                if self._take(event):
                    publish(tuple(self._targets.values()))

    async def _list(self, session: aiohttp.ClientSession) -> None:
        timeout = aiohttp.ClientTimeout(total=self._times.request)
        async with session.get(self._path, params={"labelSelector": self._selector}, timeout=timeout) as response:
            response.raise_for_status()
            body = await response.json()
        targets = [parse_endpoint(pod) for pod in body["items"]]
        self._targets = {target.key: target for target in targets if target is not None}
        self._version = body["metadata"]["resourceVersion"]
        self._failures = 0

    async def _watch(self, session: aiohttp.ClientSession) -> AsyncIterator[dict[str, Any]]:
        # Half of it at random, so that the gateways do not come back all at once.
        seconds = self._times.watch * (0.5 + self._jitter() / 2)
        params = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=self._times.request, sock_read=self._times.silence)
        async with session.get(self._path, params=params, timeout=timeout) as response:
            if response.status == 410:
                raise ExpiredVersionError("410 Gone")
            response.raise_for_status()
            self._failures = 0
            async for line in read_lines(response.content):
                yield json.loads(line)

    def _take(self, event: dict[str, Any]) -> bool:
        """Take over an event; say whether the groups have changed."""
        kind, pod = event["type"], event["object"]
        if kind == "ERROR":
            if pod.get("code") == 410:
                raise ExpiredVersionError(str(pod.get("message", "410 Gone")))
            self._version = ""
            raise ValueError(f"the watch ended with an error: {pod.get('message', pod)}")
        self._version = pod["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return False
        key = pod["metadata"]["uid"]
        before = self._targets.get(key)
        after = None if kind == "DELETED" else parse_endpoint(pod)
        if after is None:
            self._targets.pop(key, None)
        else:
            self._targets[key] = after
        return before != after

    def _pause(self) -> float:
        longest = min(self._times.backoff * 2.0 ** min(self._failures - 1, 16), self._times.max_backoff)
        return longest * (0.5 + self._jitter() / 2)


async def read_lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines of any length: a pod may be longer than what aiohttp's own line reader takes."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        raise ValueError("the watch ended in the middle of an event")

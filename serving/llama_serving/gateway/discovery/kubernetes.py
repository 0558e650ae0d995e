"""Leader pods by list and watch, with plain aiohttp: the generated client costs 20 MB and most of the start time.

    list -> publish -> watch from the list's version -> events, each published -> the watch ends -> watch again

After a watch that ended normally the next one starts at the last version seen. 410 or an event of type ERROR means that
this version has expired: list again. While the API server cannot be reached nothing is published: the last known groups
stay in use.
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
from llama_serving.gateway.discovery.pods import adapters_fault, leader_selector, parse_endpoint
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.telemetry.log import LOGGER, fields

# KeyError and TypeError: something between us and the API server answered in another shape.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, AccessError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Seconds. ``silence``: the API server sends a bookmark about once a minute, so a longer pause is a dead link."""

    request: float = 10
    watch: float = 240
    silence: float = 150
    backoff: float = 0.5
    max_backoff: float = 15


class ExpiredVersionError(Exception):
    """The resource version of the watch has expired at the API server."""


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
        self._faults: dict[str, str] = {}  # of annotations that are of no use, by uid, as they were said in the log
        self._version = ""
        self._failures = 0

    async def run(self, publish: Publish) -> None:
        """Publish all groups whenever they change, until cancelled."""
        while True:
            try:
                await self._cycle(publish)
                # A server that ends every watch at once must not be polled without a pause; no event is missed.
                await asyncio.sleep(self._times.backoff * self._jitter())
            except ExpiredVersionError as error:
                self._version = ""
                LOGGER.info("watch expired, listing pods again", extra=fields(reason=str(error)))
                await asyncio.sleep(self._times.backoff * self._jitter())
            except _FAILURES as error:
                self._failures += 1
                pause = retry_pause(self._times, failures=self._failures, jitter=self._jitter())
                reason = f"{type(error).__name__}: {error}"
                LOGGER.warning(
                    "API server unreachable, keeping the last known groups",
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
        endpoints = [parse_endpoint(pod) for pod in body["items"]]
        self._targets = {endpoint.key: endpoint for endpoint in endpoints if endpoint is not None}
        self._faults = {key: fault for key, fault in self._faults.items() if key in self._targets}
        for pod in body["items"]:
            self._say_fault(pod)
        self._version = body["metadata"]["resourceVersion"]
        self._failures = 0

    async def _watch(self, session: aiohttp.ClientSession) -> AsyncIterator[dict[str, Any]]:
        # Half of it is random, so that the gateways do not reconnect all at once.
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
        """Apply an event; return whether the groups have changed."""
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
            self._faults.pop(key, None)
        else:
            self._targets[key] = after
            self._say_fault(pod)
        return before != after

    def _say_fault(self, pod: dict[str, Any]) -> None:
        """Say once what is wrong with a leader's annotation of its adapters."""
        key, fault = pod["metadata"]["uid"], adapters_fault(pod)
        if fault != self._faults.get(key, ""):
            self._faults[key] = fault
            if fault:
                extra = fields(group=pod["metadata"]["name"], reason=fault)
                LOGGER.warning("annotation of a leader's adapters ignored", extra=extra)


def retry_pause(times: WatchTimes, *, failures: int, jitter: float) -> float:
    """Return the seconds to wait after so many failures in a row; ``jitter``, from 0 to 1, varies half of them."""
    longest = min(times.backoff * 2.0 ** min(failures - 1, 16), times.max_backoff)
    return longest * (0.5 + jitter / 2)


async def read_lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines of any length: a pod may exceed the limit of aiohttp's own line reader."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        raise ValueError("the watch ended in the middle of an event")

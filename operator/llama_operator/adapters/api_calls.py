"""One request to the API server at a time and place: its deadline, how many run at once, and who may write.

At most WRITES writes run at once: a Service or a pod costs the API server 10 ms of CPU, so a burst of hundreds would
answer none of them within its deadline. Waiting for a turn does not count against the deadline. A write has at most the
time for which the lease of its namespace is certainly still ours (``fence``), and none is sent after that.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from typing import Any

import aiohttp
from kubernetes.aio import client

from llama_operator.adapters.http_errors import is_of_another, judge
from llama_operator.ports import Manifest, Retry
from llama_serving.config.error_text import error_text

DEADLINE = 10.0  # seconds for one call
SILENCE = 90.0  # seconds without a line after which a watch is begun again; bookmarks come about once a minute
WRITES = 16  # at once

JSON = "application/json"

#: Seconds for which writes to a namespace are allowed; 0: another operator may hold its lease.
Fence = Callable[[str], float]


def unfenced(_: str) -> float:
    """Allow every write."""
    return inf


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is asked. ``namespace``: of a write that needs the lease of its namespace; empty for any other call."""

    body: Manifest | None = None
    content: str = JSON
    accept: str = JSON
    query: dict[str, str] = field(default_factory=dict)
    fine: tuple[int, ...] = ()  # statuses that answer None
    namespace: str = ""


class ApiCalls:
    """Requests with their verdicts: an answer, Retry or Rejected."""

    def __init__(self, api: client.ApiClient, *, fence: Fence = unfenced) -> None:
        self._api = api
        self._fence = fence
        self._writes = asyncio.Semaphore(WRITES)

    async def send(self, method: str, path: str, call: Call = Call()) -> Manifest | None:
        """Send one request; None for an answer that ``call.fine`` lists. Raises Retry or Rejected."""
        async with AsyncExitStack() as turn:
            if call.namespace:
                await turn.enter_async_context(self._writes)
            return await self._send(method, path, call)

    async def watch(self, path: str, query: dict[str, str], *, seconds: float = inf) -> AsyncGenerator[Manifest, None]:
        """Yield the events of a watch until the server ends it, or ``seconds`` are over. Raises Retry or Rejected."""
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        total = None if seconds == inf else seconds
        timeout = aiohttp.ClientTimeout(total=total, sock_read=SILENCE, sock_connect=DEADLINE)
        try:
            answer = await self._request("GET", path, Call(query=asked), timeout=timeout)
            async with answer:
                if answer.status != 200:
                    judge(answer.status, answer.headers, await answer.text())
                async for line in _lines(answer.content):
                    yield json.loads(line)
        except aiohttp.ConnectionTimeoutError as error:
            raise _no_connection(error) from error
        except TimeoutError:  # silence
            return
        except (aiohttp.ClientError, OSError) as error:
            raise _no_connection(error) from error

    async def _send(self, method: str, path: str, call: Call) -> Manifest | None:
        deadline = min(DEADLINE, self._fence(call.namespace) if call.namespace else inf)
        if deadline <= 0:
            raise Retry(f"the lease of namespace {call.namespace} is not held, so nothing is written")
        try:
            answer = await self._request(method, path, call, timeout=aiohttp.ClientTimeout(total=deadline))
            text = await answer.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _no_connection(error) from error
        status = 409 if is_of_another(answer.status, text) else answer.status
        if status in call.fine:
            return None
        judge(status, answer.headers, text)
        parsed: Manifest = json.loads(text)
        return parsed

    async def _request(
        self, method: str, path: str, call: Call, *, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(call.query.items()),
            header_params={"Accept": call.accept, "Content-Type": call.content},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        found: aiohttp.ClientResponse = (await self._api.call_api(*request, _request_timeout=timeout)).response
        return found


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a body, however long they are."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line


def _no_connection(error: Exception) -> Retry:
    return Retry(f"no connection to the API server: {error_text(error, deadline=DEADLINE)}")


def items_of(answer: Manifest | None) -> list[Any]:
    """Return the items of a list."""
    return list((answer or {}).get("items") or ())

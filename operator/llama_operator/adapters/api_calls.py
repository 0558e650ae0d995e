"""One request to the API server at a time and place: its deadline, how many run at once, and who may write.

At most WRITES writes run at once: a Service or a pod costs the API server 10 ms of CPU, so a burst of hundreds would
answer none of them within its deadline. Waiting for a turn does not count against the deadline. A write has at most the
time for which the lease of its namespace is certainly still ours (``fence``), and none is sent after that.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from typing import Any

import aiohttp
from kubernetes.aio import client

from llama_operator.adapters.bounded_body import read_up_to
from llama_operator.adapters.http_errors import is_of_another, judge
from llama_operator.adapters.watching.events import BrokenWatch, event_of, is_object, lines
from llama_operator.bounds.json_text import OverLimitError
from llama_operator.ports import Manifest, Retry
from llama_serving.config.error_text import error_text, status_text

DEADLINE = 10.0  # seconds for one call
WRITES = 16  # at once
ANSWER = 12 << 20  # bytes; an object has 1.5 MiB in etcd, and six times as many where its JSON escapes everything
_REFUSAL = 256 << 10  # bytes of an answer that is no 2xx

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
    limit: int = 0  # bytes of the answer; 0: ANSWER


class TooLarge(Retry):
    """The answer has more bytes than the call allows."""


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
        """Yield the events of a watch until the server ends it, or ``seconds`` are over.

        Raises Retry or Rejected; BrokenWatch, a Retry, where only a new list tells what there is.
        """
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        total = None if seconds == inf else seconds
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=DEADLINE)
        try:
            async with asyncio.timeout(min(DEADLINE, seconds)):
                answer = await self._request("GET", path, Call(query=asked), timeout=timeout)
        except TimeoutError as error:
            if seconds <= DEADLINE:
                return  # the time of the caller is over
            raise _no_connection(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _no_connection(error) from error
        try:
            async with answer:
                if answer.status != 200:
                    judge(answer.status, answer.headers, await _text(answer, _REFUSAL))
                    raise BrokenWatch(f"it is answered with {status_text(answer.status)}")
                async for line in lines(answer.content):
                    yield event_of(line)
        except TimeoutError:  # the time of the caller is over
            return
        except (aiohttp.ClientError, OSError) as error:
            raise _no_connection(error) from error

    async def _send(self, method: str, path: str, call: Call) -> Manifest | None:
        deadline = min(DEADLINE, self._fence(call.namespace) if call.namespace else inf)
        if deadline <= 0:
            raise Retry(f"the lease of namespace {call.namespace} is not held, so nothing is written")
        try:
            answer = await self._request(method, path, call, timeout=aiohttp.ClientTimeout(total=deadline))
            text = await _text(answer, call.limit or ANSWER)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _no_connection(error) from error
        status = 409 if is_of_another(answer.status, text) else answer.status
        if status in call.fine:
            return None
        judge(status, answer.headers, text)
        return _parsed(text)

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


async def _text(answer: aiohttp.ClientResponse, limit: int) -> str:
    """Read a body. Raises TooLarge."""
    try:
        return (await read_up_to(answer, limit)).decode(errors="replace")
    except OverLimitError as error:
        raise TooLarge(f"an answer of the API server {error}") from None


def _parsed(text: str) -> Manifest:
    """Return the object in an answer. Raises Retry for anything else, such as the page of a proxy."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Retry(f"what answers for the API server sends {len(text)} characters that are no object of JSON")
    return found


def _no_connection(error: Exception) -> Retry:
    return Retry(f"no connection to the API server: {error_text(error, deadline=DEADLINE)}")


def items_of(answer: Manifest | None) -> list[Any]:
    """Return the items of a list that are objects with a name and a uid."""
    return [item for item in (answer or {}).get("items") or () if is_object(item)]


def page_of(answer: Manifest | None) -> Manifest:
    """Return a page of a list. Raises Retry for what is none: it would empty what is known."""
    found = answer or {}
    meta = found.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("resourceVersion"), str) or "items" not in found:
        raise Retry("the API server answers with no list of Kubernetes")
    return found

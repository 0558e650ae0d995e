"""A middleware between kopf and the API server, so that kopf sees lists and watches only as they should be.

kopf ends at any fault of a watch but one, an in-stream 410, which leads to a new list; it asks again without a pause
when a watch is ended at once; and it never learns what went between two lists. So every other fault becomes that one:
an ERROR of any code, a line that is no event or is cut, a page of HTML, silence, bookmarks alone for ten minutes.
What is not answered, or answered with 401, 408, 425, 429 or 5xx, is asked again with growing pauses. 403 and 404 are
passed on after FORBIDDEN tries: the scope then says which right, CRD or namespace is missing. Deletions that nobody saw
are told at the head of the next watch.

Memory: a page of a list is read, and parsed, one at a time, and no more than PAGE_BYTES of it; what objects keep is
bounded by namespace (budget.py).
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from llama_operator.adapters.http_errors import message_of
from llama_operator.adapters.watching import answers
from llama_operator.adapters.watching.answers import Fault, LargePage, Replay, replaced
from llama_operator.adapters.watching.budget import ObjectBudget
from llama_operator.adapters.watching.events import BrokenWatch, event_of, lines
from llama_operator.adapters.watching.known import KnownObjects
from llama_operator.adapters.watching.pace import TIMES, Pace, Times
from llama_operator.ports import Manifest
from llama_operator.scopes.listings import Listings
from llama_serving.config.error_text import error_text

log = logging.getLogger(__name__)

PAGE: Final = 100  # objects that kopf asks for at a time
FORBIDDEN: Final = 3  # answers 403 or 404, one after the other, that are believed
CREDENTIALS: Final = 60.0  # seconds for which the headers with the token are good

#: What kopf understands as: list again.
EXPIRED: Final = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'


@dataclass
class _Path:
    """One list and its watch."""

    name: str
    pace: Pace
    known: KnownObjects
    due: float = 0.0  # seconds to wait before the next request
    page: int = PAGE  # objects at a time
    refused: int = 0  # answers 403 or 404, one after the other
    problem: str = ""  # that was logged last


class WatchGuard:
    """The middleware of one session of kopf. ``credentials`` returns the headers that name the operator."""

    def __init__(
        self,
        credentials: Callable[[], Mapping[str, str]],
        *,
        listings: Listings,
        budget: ObjectBudget | None = None,
        times: Times = TIMES,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._credentials = credentials
        self._listings = listings
        self._budget = budget or ObjectBudget()
        self._times = times
        self._jitter = jitter
        self._paths: dict[str, _Path] = {}
        self._headers: Mapping[str, str] = {}
        self._read_at = -CREDENTIALS
        self._reading = asyncio.Lock()

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Answer a request of kopf."""
        path = self._path(request)
        if request.url.query.get("watch") == "true":
            return await self._watch(path, request, handler)
        self._listings.want(path.name)
        while True:
            await self._wait(path)
            try:
                found = await self._answer(path, request, handler)
            except ListExpired as error:
                self._failed(path, error)
                raise
            except Fault as fault:
                self._failed(path, fault)
            else:
                self._listings.got(path.name)
                return found

    def close(self) -> None:
        """Want nothing any more."""
        for path in self._paths.values():
            self._listings.got(path.name)
            path.known.close()

    def _path(self, request: ClientRequest) -> _Path:
        name = request.url.path
        if name in self._paths:
            return self._paths[name]
        found = _Path(name, Pace(self._times, self._jitter), KnownObjects(self._budget))
        if request.method == "GET":  # a patch is of one object
            self._paths[name] = found
        return found

    async def _wait(self, path: _Path) -> None:
        pause, path.due = path.due, 0.0
        await asyncio.sleep(pause)

    def _failed(self, path: _Path, fault: Exception) -> None:
        """Set the pause before the next request, and log it where it is news."""
        path.due = path.pace.failed(at_least=fault.after if isinstance(fault, Fault) else 0.0)
        self._listings.want(path.name)
        if path.problem != str(fault):
            path.problem = str(fault)
            log.warning("%s is asked for again in %.1f s: %s", path.name, path.due, fault)

    # -- lists, discovery, patches ----------------------------------------------------------------------------------

    async def _answer(self, path: _Path, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send a request and read its answer. Raises Fault for one that is asked for again."""
        try:
            async with asyncio.timeout(self._times.deadline):
                response = await self._send(path, request, handler)
            async with self._reading, asyncio.timeout(self._times.deadline):
                return await self._read(path, request, response)
        except LargePage as error:
            if path.page == 1:
                raise
            path.page = max(1, path.page // 4)
            raise Fault(f"{error}; from now on it is asked for {path.page} objects at a time") from None
        except ListExpired:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unanswered(error) from error

    async def _read(self, path: _Path, request: ClientRequest, response: ClientResponse) -> ClientResponse:
        if answers.is_fault(response.status):
            raise await answers.fault_of(response)
        body = await answers.body_of(response)
        if response.status in (403, 404) and self._is_doubted(path):
            raise Fault(message_of(body.decode(errors="replace")) or f"HTTP {response.status}")
        if response.status == 410:  # the list went on for too long
            raise ListExpired("the list has expired, and begins anew")
        if response.status < 300 and request.method == "GET":
            if not answers.is_json(response):  # kopf would not read it
                raise Fault(f"an answer is {response.content_type} and no JSON")
            found = self._shown(path, answers.document(body), first="continue" not in request.url.query)
            body = json.dumps(found).encode()
        return replaced(response, Replay(body))

    def _shown(self, path: _Path, found: Manifest, *, first: bool) -> Manifest:
        """Return what kopf gets to see of an answer."""
        path.refused, path.problem = 0, ""
        if not isinstance(found.get("items"), list):
            path.pace.failures = 0  # discovery: no watch follows
            return found
        page = answers.page(found)
        kind = {"apiVersion": page.get("apiVersion", ""), "kind": str(page.get("kind", "")).removesuffix("List")}
        items = path.known.page(({**kind, **item} for item in page["items"]), first=first)
        if not page["metadata"].get("continue"):
            path.known.listed(page["metadata"]["resourceVersion"])
        return {**page, "items": items}

    def _is_doubted(self, path: _Path) -> bool:
        path.refused += 1
        return path.refused < FORBIDDEN

    async def _send(self, path: _Path, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        now = time.monotonic()
        if now - self._read_at >= CREDENTIALS:
            self._headers, self._read_at = self._credentials(), now
        request.headers.update(self._headers)
        if "limit" in request.url.query and path.page < PAGE:
            request.url = request.url.update_query(limit=str(path.page))
        response = await handler(request)
        if response.status == 401:
            self._read_at = -CREDENTIALS
        return response

    def _unanswered(self, error: Exception) -> Fault:
        return Fault(error_text(error, deadline=self._times.deadline))

    # -- watches ----------------------------------------------------------------------------------------------------

    async def _watch(self, path: _Path, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Begin a watch. Raises ClientConnectionError where kopf is to try again from the same version."""
        await self._wait(path)
        try:
            async with asyncio.timeout(self._times.deadline):
                response = await self._send(path, request, handler)
                if answers.is_fault(response.status):
                    raise await answers.fault_of(response)
        except (aiohttp.ClientError, OSError, TimeoutError, Fault) as error:
            fault = error if isinstance(error, Fault) else self._unanswered(error)
            self._failed(path, fault)
            raise aiohttp.ClientConnectionError(str(fault)) from error
        if response.status in (403, 404) and not self._is_doubted(path):
            return response
        if response.status == 200:
            self._listings.got(path.name)
            path.refused = 0
            return replaced(response, _Events(self._events(path, response.content), response.content))
        self._failed(path, Fault(f"its watch is answered with HTTP {response.status} and no events"))
        response.close()
        response.status = 200
        return replaced(response, Replay(EXPIRED))

    async def _events(self, path: _Path, stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """Yield the lines of a watch, all of them events, until it ends; EXPIRED where it cannot be relied on."""
        for event in path.known.departures():
            yield json.dumps(event).encode() + b"\n"
        begun = changed = time.monotonic()
        try:
            async for line in lines(stream, silence=self._times.silence):
                event = path.known.see(event_of(line, identified=True), size=len(line))
                now = time.monotonic()
                if event["type"] != "BOOKMARK":
                    changed = now
                elif now - changed > self._times.relist:
                    break
                yield json.dumps(event).encode() + b"\n"
            else:
                path.due = path.pace.ended(time.monotonic() - begun)
                return
        except BrokenWatch as error:
            path.pace.lasted(time.monotonic() - begun)
            self._failed(path, Fault(str(error)))
        except (aiohttp.ClientError, OSError) as error:
            path.due = path.pace.ended(time.monotonic() - begun)
            log.info("the watch of %s broke: %s", path.name, error_text(error))
            return
        yield EXPIRED


class ListExpired(aiohttp.ClientConnectionError):
    """A continued list is too old. kopf begins it again."""


class _Events:
    """A watch as ``ClientResponse.content``. ``stream``: what it is read from, which a release ends."""

    def __init__(self, events: AsyncIterator[bytes], stream: aiohttp.StreamReader) -> None:
        self._events = events
        self.exception = stream.exception
        self.set_exception = stream.set_exception

    def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Return the lines."""
        return self._events

"""Faults between an operator and its API server, by name: what is answered instead, as a table."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

#: Beside those of the table: each write is done, and the connection is closed in place of its answer.
LOST_ANSWERS: Final = "answers to writes lost"
HTML: Final = "<html><body>Sign in to the network</body></html>"


@dataclass(frozen=True)
class Fault:
    """What is answered to a request, or what a watch sends. ``lists``: it meets all requests, not watches alone."""

    status: int = 200
    text: str = ""
    content: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    lists: bool = False
    closes: bool = False  # the connection, without an answer
    hangs: bool = False  # no answer
    stream: tuple[bytes, ...] | None = None  # of a watch, which then ends
    silent: bool = False  # a watch that sends nothing
    bookmarks: bool = False  # a watch that sends bookmarks alone


def status(code: int, reason: str = "Injected") -> str:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": "injected"})


def _error(code: int) -> bytes:
    return json.dumps({"type": "ERROR", "object": json.loads(status(code))}).encode() + b"\n"


def _answered(code: int, **fields: Any) -> Fault:
    return Fault(code, status(code), lists=True, **fields)


FAULTS: Final[dict[str, Fault]] = {
    "connection closed": Fault(closes=True, lists=True),
    "never answered": Fault(hangs=True, lists=True),
    "401": _answered(401),
    "403": _answered(403),
    "429": _answered(429, headers=(("Retry-After", "1"),)),
    "429 for ever": _answered(429, headers=(("Retry-After", "9" * 400),)),
    "500": _answered(500),
    "503": _answered(503),
    "500 and deep": Fault(500, "[" * 100_000, lists=True),
    "page of a proxy": Fault(text=HTML, content="text/html", lists=True),
    "page said to be JSON": Fault(text=HTML, lists=True),
    "empty object": Fault(text="{}", lists=True),
    "deep": Fault(text="[" * 100_000, lists=True),
    "watch 410": Fault(410, status(410, "Expired")),
    "watch page": Fault(text=HTML, content="text/html"),
    "ERROR 410": Fault(stream=(_error(410),)),
    "ERROR 500": Fault(stream=(_error(500),)),
    "ERROR without a code": Fault(stream=(b'{"type":"ERROR","object":{}}\n',)),
    "ended at once": Fault(stream=()),
    "cut": Fault(stream=(b'{"type":"ADDED","object":{"kind":"Pod","metad',)),
    "no JSON": Fault(stream=(b'{"type":"MODIFIED","object":{"kind"\nnot json\n',)),
    "null": Fault(stream=(b"null\n[]\n",)),
    "null object": Fault(stream=(b'{"type":"MODIFIED","object":null}\n',)),
    "unknown type": Fault(stream=(b'{"type":"FOO","object":{"kind":"Pod","metadata":{"name":"x"}}}\n',)),
    "no name": Fault(stream=(b'{"type":"ADDED","object":{"kind":"Pod","metadata":{}}}\n',)),
    "silent": Fault(silent=True),
    "bookmarks alone": Fault(bookmarks=True),
}


async def answer(request: web.Request, fault: Fault, *, version: Callable[[], int]) -> web.StreamResponse:
    """Answer with a fault. ``version``: of the store, for bookmarks."""
    if fault.closes:
        assert request.transport is not None
        request.transport.close()
        return web.Response()
    if fault.hangs:
        await asyncio.Event().wait()
    if fault.silent or fault.bookmarks or fault.stream is not None:
        return await _watch(request, fault, version)
    headers = dict(fault.headers) | {"Content-Type": fault.content}
    return web.Response(status=fault.status, text=fault.text, headers=headers)


async def _watch(request: web.Request, fault: Fault, version: Callable[[], int]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for part in fault.stream or ():
        await response.write(part)
    if fault.silent:
        await asyncio.Event().wait()
    while fault.bookmarks:
        meta = {"resourceVersion": str(version())}
        await response.write(json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode() + b"\n")
        await asyncio.sleep(0.05)
    await response.write_eof()
    return response


async def breakable(
    running: set[asyncio.Task[Any]], request: web.Request, answering: Coroutine[Any, Any, web.StreamResponse]
) -> web.StreamResponse:
    """Answer in a task of ``running``. A watch, or an answer that hangs, is broken off where that task is cancelled."""
    task = asyncio.ensure_future(answering)
    running.add(task)
    try:
        await asyncio.wait([task])
    finally:
        running.discard(task)
        task.cancel()
    if task.cancelled() and request.transport is not None:
        request.transport.close()
        return web.Response()
    return task.result()

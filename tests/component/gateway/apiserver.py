"""As much of an API server as a watch of pods can see, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from llama_serving.config import names

Pod = dict[str, Any]


def pod(name: str, *, group: str = "0", ip: str = "10.0.0.1", ready: bool = True, uid: str = "", **more: Any) -> Pod:
    metadata = {
        "name": name,
        "uid": uid or f"uid-of-{name}",
        "labels": {names.LABEL_GROUP: group},
        "annotations": {names.ANNOTATION_WEIGHTS: "w1"},
        **more,
    }
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "status": {"podIP": ip, "conditions": conditions}}


@dataclass
class Watch:
    """One open watch; the test sends events and ends it."""

    query: dict[str, str]
    response: web.StreamResponse
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: bool = False

    async def send(self, kind: str, body: dict[str, Any]) -> None:
        await self.send_bytes(json.dumps({"type": kind, "object": body}).encode() + b"\n")

    async def send_bytes(self, data: bytes) -> None:
        await self.response.write(data)

    def end(self, *, abort: bool = False) -> None:
        self.aborted = abort
        self.ended.set()


@dataclass
class ApiServer:
    """``pods`` is what a list returns; watches show up in ``watches``; every request is in ``requests``.

    ``others`` has the same of other objects, by what a request asks for: "gateways", "secrets".
    """

    pods: dict[str, Pod] = field(default_factory=dict)
    version: int = 100
    watches: list[Watch] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    refuse_list: int = 0
    refuse_watch: int = 0
    garbage: str = ""  # in place of a list
    lists: int = 0
    url: str = ""
    others: dict[str, "ApiServer"] = field(default_factory=dict)

    def other(self, what: str) -> "ApiServer":
        return self.others.setdefault(what, ApiServer())

    def put(self, item: Pod) -> Pod:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.pods[item["metadata"]["uid"]] = item
        return item

    async def event(self, kind: str, item: Pod) -> None:
        """Change a pod and tell the newest watch."""
        self.put(item)
        if kind == "DELETED":
            del self.pods[item["metadata"]["uid"]]
        await self.watches[-1].send(kind, item)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        if f"={names.COMPONENT_GATEWAY}" in query.get("labelSelector", "") and "gateways" not in request:
            request["gateways"] = True
            return await self.other("gateways").handle(request)
        self.requests.append((request.path, query, request.headers.get("authorization", "")))
        if "watch" in query:
            return await self._watch(request, query)
        self.lists += 1
        if self.refuse_list:
            return web.Response(status=self.refuse_list)
        if self.garbage:
            return web.Response(text=self.garbage)
        items = list(self.pods.values())
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def _watch(self, request: web.Request, query: dict[str, str]) -> web.StreamResponse:
        if self.refuse_watch:
            return web.Response(status=self.refuse_watch)
        response = web.StreamResponse()
        await response.prepare(request)
        watch = Watch(query, response)
        self.watches.append(watch)
        await watch.ended.wait()
        if watch.aborted and request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def running(server: ApiServer, port: int = 0) -> AsyncIterator[ApiServer]:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/{namespace}/pods", server.handle)
    app.router.add_get("/api/v1/namespaces/{namespace}/secrets", server.other("secrets").handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        for watch in [*server.watches, *(watch for other in server.others.values() for watch in other.watches)]:
            watch.end()
        await runner.cleanup()

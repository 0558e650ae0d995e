"""A small API server over HTTP, for an operator as a process or as kopf in this one; FAULTS lie between the two.

It has what the operator asks for: discovery, lists in pages, watches, gets, creates, replaces, patches, deletes. A
server-side apply is a merge here; the real one is held to by tests/contract.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from llama_operator.wiring import WATCHED
from tests.fakes.api.faults import FAULTS, LOST_ANSWERS, answer, breakable, status
from tests.fakes.api.store import Body, Place, Store, merged, place_of

#: Kinds beside those that are watched: kopf waits for the first two to be served.
OTHERS = (
    ("v1", "namespaces"), ("apiextensions.k8s.io/v1", "customresourcedefinitions"), ("v1", "nodes"), ("v1", "events"),
    ("v1", "secrets"), ("v1", "resourcequotas"), ("coordination.k8s.io/v1", "leases"),
)  # fmt: skip
KINDS = (*WATCHED, *OTHERS)


class SmallApi:
    """The server; ``fault`` names what meets requests now. Leases of the operator are left alone by watch faults."""

    def __init__(self) -> None:
        self.store = Store()
        self.fault = ""
        self.asked: Counter[str] = Counter()  # list, watch, get, write; since the last change of the fault
        self.writes: list[str] = []
        self.since = time.monotonic()
        self.blind = False  # watches show nothing new
        self._changed = asyncio.Event()
        self._watches: set[asyncio.Task[Any]] = set()
        self.url = ""

    def set_fault(self, name: str) -> None:
        """From now on this fault, or none; running watches are broken off."""
        self.fault = name
        self.asked.clear()
        self.since = time.monotonic()
        for task in self._watches:
            task.cancel()

    def create(self, path: str, body: Body) -> Body:
        """Create an object, as a user does."""
        place = place_of(path)
        assert place is not None
        found = self.store.put(place, body)
        self.wake()
        return found

    def edit(self, path: str, patch: Body) -> Body:
        place = place_of(path)
        assert place is not None
        found = self.store.put(place, merged(self.store.get(place), patch))
        self.wake()
        return found

    async def until_asked(self, times: int, *, seconds: float = 30.0) -> None:
        """Until there were so many requests since the last change of the fault."""
        while self.asked.total() < times:
            assert time.monotonic() - self.since < seconds, f"{self.fault}: {self.asked} after {seconds} s"
            await asyncio.sleep(0.02)

    def wake(self) -> None:
        """Tell the watches that there is something new."""
        self._changed.set()
        self._changed = asyncio.Event()

    # -- HTTP -------------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        place, watch = place_of(request.path), request.query.get("watch") == "true"
        self.asked["watch" if watch else "get" if request.method == "GET" else "write"] += 1
        fault = FAULTS.get(self.fault)
        if fault and (fault.lists or (watch and place and place.plural != "leases")):
            return await breakable(self._watches, request, answer(request, fault, version=lambda: self.store.version))
        if place is None:
            return web.json_response(discovery(request.path))
        if request.method != "GET":
            written = await self._write(request, place)
            if self.fault == LOST_ANSWERS and place.plural != "leases" and request.transport is not None:
                request.transport.close()
            return written
        if watch:
            return await breakable(self._watches, request, self._watch(request, place))
        return self._read(request, place)

    def _read(self, request: web.Request, place: Place) -> web.Response:
        if place.name:
            found = self.store.get(place)
            return web.json_response(found) if found else web.Response(status=404, text=status(404, "NotFound"))
        items = self.store.listed(place, dict(request.query))
        begin, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 0)) or len(items) + 1
        rest = begin + limit < len(items)
        meta = {"resourceVersion": str(self.store.version)} | ({"continue": str(begin + limit)} if rest else {})
        kind = items[0].get("kind", "") if items else ""
        page = {"kind": f"{kind}List", "apiVersion": place.version, "metadata": meta}
        return web.json_response(page | {"items": items[begin : begin + limit]})

    async def _write(self, request: web.Request, place: Place) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        name = place.name or (body.get("metadata") or {}).get("name", "")
        where = Place(place.version, place.plural, place.namespace, name)
        if place.plural != "leases":
            self.writes.append(f"{request.method} {place.plural}/{name}{place.sub and f'/{place.sub}'}")
        before = self.store.get(where)
        if request.method == "DELETE":
            found: Body | None = self.store.delete(where)
        elif request.method == "PUT" and before and _version(body) not in ("", _version(before)):
            return web.Response(status=409, text=status(409, "Conflict"))
        elif place.sub == "status" and before:
            found = self.store.put(where, {**before, "metadata": dict(before["metadata"]), "status": body["status"]})
        elif before is None and place.sub:
            found = None
        else:
            found = self.store.put(where, body if request.method != "PATCH" else merged(before or {}, body))
        self.wake()
        return web.json_response(found) if found else web.Response(status=404, text=status(404, "NotFound"))

    async def _watch(self, request: web.Request, place: Place) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(request.query.get("resourceVersion") or 0)
        while True:
            changed = self._changed
            due = [] if self.blind else self.store.since(version, place, dict(request.query))
            for number, kind, body in due:
                await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
                version = number
            await changed.wait()


def _version(body: Body) -> str:
    return str((body.get("metadata") or {}).get("resourceVersion", ""))


def discovery(path: str) -> Body:
    """The documents that kopf looks for its kinds in."""
    groups = sorted({version for version, _ in KINDS if "/" in version})
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        named = [(one, one.partition("/")[0], one.partition("/")[2]) for one in groups]
        entries = [{"groupVersion": one, "version": version} for one, _, version in named]
        return {
            "kind": "APIGroupList",
            "groups": [
                {"name": name, "versions": [entry], "preferredVersion": entry}
                for (_, name, _), entry in zip(named, entries, strict=True)
            ],
        }
    version = "v1" if path == "/api/v1" else path.removeprefix("/apis/")
    cluster = {"namespaces", "customresourcedefinitions", "nodes"}
    resources = [
        {
            "name": plural, "singularName": "", "kind": plural.title(), "namespaced": plural not in cluster,
            "verbs": ["list", "watch", "get", "create", "patch", "delete"],
        }
        for found, plural in KINDS if found == version
    ]  # fmt: skip
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


@asynccontextmanager
async def small_api() -> AsyncIterator[SmallApi]:
    """A running server on a free port of the loopback."""
    api = SmallApi()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    api.url = f"http://{host}:{port}"
    try:
        yield api
    finally:
        api.set_fault("")
        await runner.cleanup()


def kubeconfig(path: Path, url: str) -> Path:
    """How to go there with a token."""
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return path

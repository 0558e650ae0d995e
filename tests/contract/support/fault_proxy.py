"""A proxy between an operator and the real API server: passes everything on, or answers with a fault of the table."""

import asyncio
import base64
import contextlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.fakes.api.faults import FAULTS, answer, breakable

_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


class FaultProxy:
    """Runs in a thread of its own: tests of the operator as a process wait without a loop."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        cluster = self._config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._loop = asyncio.new_event_loop()
        self._watches: set[asyncio.Task[Any]] = set()
        self.fault = ""
        self.asked: Counter[str] = Counter()
        self.writes: list[str] = []
        self.repeated: list[str] = []  # of these, writes of what was written last
        self._written: dict[str, bytes] = {}
        self.since = time.monotonic()
        self.url = ""

    def set_fault(self, name: str) -> None:
        """From now on this fault, or none; running watches are broken off."""
        done = threading.Event()

        def change() -> None:
            self.fault = name
            self.asked.clear()
            self.since = time.monotonic()
            for task in self._watches:
                task.cancel()
            done.set()

        self._loop.call_soon_threadsafe(change)
        assert done.wait(10)

    def kubeconfig(self, path: Path) -> Path:
        """The way through the proxy, as the same user."""
        config = {**self._config, "clusters": [{**self._config["clusters"][0], "cluster": {"server": self.url}}]}
        path.write_text(yaml.safe_dump(config))
        return path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "true"
        self.asked["watch" if watch else request.method] += 1
        if request.method != "GET" and "/leases" not in request.path:
            await self._note_write(request)
        fault = FAULTS.get(self.fault)
        if fault and (fault.lists or (watch and "/leases" not in request.path)):
            return await breakable(self._watches, request, answer(request, fault, version=lambda: 1))
        if watch:
            return await breakable(self._watches, request, self._pass_on(request))
        return await self._pass_on(request)

    async def _note_write(self, request: web.Request) -> None:
        asked, body = f"{request.method} {request.path}", await request.read()
        self.writes.append(asked)
        if self._written.get(asked) == body:
            self.repeated.append(asked)
        self._written[asked] = body

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        url = f"{self._server}{request.rel_url.raw_path_qs}"
        body = await request.read() or None  # with an empty one aiohttp would name a content type: 415
        async with self._session.request(request.method, url, data=body, headers=headers, ssl=self._tls) as found:
            try:
                return await _copy(found, request)
            except asyncio.CancelledError:  # a close by TLS waits for the server, for longer than this loop may run
                if found.connection is not None and found.connection.transport is not None:
                    found.connection.transport.abort()
                raise

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            self._session = session
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        ready, stop = threading.Event(), asyncio.Event()
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready, stop),), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            self.set_fault("")
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            self._loop.close()


async def _copy(found: aiohttp.ClientResponse, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=found.status, headers={"Content-Type": found.content_type})
    await response.prepare(request)
    async for chunk in found.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response

"""An HTTP server on the bridge of the test bed, from which stages fetch weights; it can be made to misbehave.

Folders of one root, with ranges. ``faults`` maps the end of a path to what happens to it instead; it may change while
the server runs.
"""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from aiohttp import web


class Fault(Enum):
    """What a file does instead of being served."""

    DENIED = 401
    GONE = 404
    BUSY = 429
    FLIPPED = "one bit differs"


@dataclass
class Origin:
    """The running server."""

    root: Path
    url: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    token: str = ""  # when set, only requests with it as bearer are served
    requests: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a file, or its fault."""
        path = request.match_info["path"]
        self.requests.append(f"{request.method} {path} {request.headers.get('Range', '')}".rstrip())
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="a token is needed")
        fault = next((fault for end, fault in self.faults.items() if path.endswith(end)), None)
        if fault is Fault.FLIPPED:
            return flipped(request, self.root / path)
        if fault is not None:
            return web.Response(status=fault.value, headers={"Retry-After": "1"})
        file = self.root / path
        return web.FileResponse(file) if file.is_file() else web.Response(status=404)


def flipped(request: web.Request, file: Path) -> web.Response:
    """The file, or the asked range of it, with one bit of its last byte changed."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    asked = request.http_range
    if asked.start is None and asked.stop is None:
        return web.Response(body=bytes(data))
    part = data[asked.start : asked.stop]
    begin = asked.start or 0
    headers = {"Content-Range": f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"}
    return web.Response(status=206, body=bytes(part), headers=headers)


@contextmanager
def origin(root: Path, *, host: str) -> Iterator[Origin]:
    """Serve ``root`` on a free port of ``host`` until the end of the block."""
    served = Origin(root)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", served.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        served.url = f"http://{host}:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield served
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def write_sums(folder: Path) -> None:
    """``SHA256SUMS`` of a folder, as sha256sum writes it."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))

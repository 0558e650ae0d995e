"""The Hugging Face Hub's protocol as far as huggingface_hub and we use it, over a folder.

    GET /api/models/{id}/revision/{revision}?blobs=true    commit and files, with sha256 of those in LFS
    GET /{id}/resolve/{commit}/{file}                      small files; those in LFS are a redirect to
    GET /cdn/{commit}/{file}                               which takes no token, as the Hub's CDN does

Refusals are the Hub's: 401 for what one may not know, 403 with X-Error-Code GatedRepo, 404 with RevisionNotFound.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_reader"
_LFS = ".safetensors"


@dataclass
class Hub:
    """One model, ``team/tiny``, whose branch ``main`` is at COMMIT."""

    folder: Path
    gated: bool = False
    port: int = 0
    tokens: list[str] = field(default_factory=list)  # Authorization of each request, by route
    cdn_tokens: list[str] = field(default_factory=list)

    def _refusal(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "")
        self.tokens.append(token)
        if self.gated and not token:
            return web.json_response(
                {"error": "Access to model team/tiny is restricted."}, status=401, headers={"X-Error-Code": "GatedRepo"}
            )
        if self.gated and token != f"Bearer {TOKEN}":
            message = "Access to model team/tiny is restricted and you are not in the authorized list."
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": message}
            return web.json_response({"error": message}, status=403, headers=headers)
        return None

    async def info(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        revision = request.match_info.get("revision", "main")
        if revision not in ("main", COMMIT):
            return web.json_response(
                {"error": "Invalid rev id"}, status=404, headers={"X-Error-Code": "RevisionNotFound"}
            )
        assert request.query.get("blobs") == "true", request.query_string
        files = [self._entry(path) for path in sorted(self.folder.iterdir())]
        return web.json_response({"id": "team/tiny", "modelId": "team/tiny", "sha": COMMIT, "siblings": files})

    def _entry(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        entry: dict[str, object] = {"rfilename": path.name, "size": len(content), "blobId": "0" * 40}
        if path.suffix == _LFS:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        return entry

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        name = request.match_info["file"]
        path = self.folder / name
        if not path.is_file():
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        if path.suffix == _LFS:
            # The Hub's CDN is another host: an address that differs in its port is another origin, too.
            host = request.host.partition(":")[0]
            other = "localhost" if host == "127.0.0.1" else "127.0.0.1"
            place = f"http://{other}:{request.host.partition(':')[2]}/cdn/{COMMIT}/{name}"
            headers = {"Location": place, "X-Repo-Commit": COMMIT, "X-Linked-Size": str(path.stat().st_size)}
            return web.Response(status=302, headers=headers)
        return web.FileResponse(path, headers={"X-Repo-Commit": COMMIT})

    async def cdn(self, request: web.Request) -> web.StreamResponse:
        self.cdn_tokens.append(request.headers.get("Authorization", ""))
        return web.FileResponse(self.folder / request.match_info["file"])


@asynccontextmanager
async def hub(folder: Path) -> AsyncIterator[Hub]:
    """A hub on a free port of loopback."""
    made = Hub(folder)
    app = web.Application()
    app.router.add_get("/api/models/team/tiny", made.info)
    app.router.add_get("/api/models/team/tiny/revision/{revision}", made.info)
    app.router.add_get(f"/team/tiny/resolve/{COMMIT}/{{file}}", made.resolve)
    app.router.add_get(f"/cdn/{COMMIT}/{{file}}", made.cdn)
    async with serving(app) as port:
        made.port = port
        yield made


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[int]:
    """The port on which an app is served."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()

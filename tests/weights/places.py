"""The same model behind every scheme that can be exercised here, each behind a proxy that can do harm."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.interface import Source
from tests.weights import servers
from tests.weights.faults import Proxy, proxy
from tests.weights.hub import COMMIT, TOKEN, hub, serving
from tests.weights.servers import BUCKET, KEY, REPOSITORY, SECRET


@dataclass(frozen=True)
class Place:
    """A model at a source: how it is asked for, and how its files are called in requests."""

    uri: str
    revision: str
    resolved: str
    credentials: Path
    proxy: Proxy
    target: Callable[[str], str]  # part of the address of a file's bytes
    lists_sha256: bool  # of weights
    says_retry_after: bool = True  # false where the client hides the header
    opened: list[Source] = field(default_factory=list)

    def open(self, *, revision: str | None = None, credentials: Path | None = None) -> Source:
        """The source; it is closed with the test."""
        revision = self.revision if revision is None else revision
        self.opened.append(open_source(self.uri, revision=revision, credentials=credentials or self.credentials))
        return self.opened[-1]

    async def close(self) -> None:
        for source in self.opened:
            await source.close()


@dataclass(frozen=True)
class Servers:
    """Ports of the servers that run for the whole session."""

    s3: int
    gcs: int
    registry: int


def secret(folder: Path, **keys: str) -> Path:
    """A Secret as the kubelet mounts it."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in keys.items():
        (folder / key).write_text(f"{value}\n")
    return folder


def by_name(name: str) -> str:
    return name


@asynccontextmanager
async def plain(model: Path, folder: Path, running: Servers) -> AsyncIterator[Place]:
    del running
    app = web.Application()
    app.router.add_static("/llama/v1", model)
    async with serving(app) as port, proxy(port) as front:
        uri = f"http://127.0.0.1:{front.port}/llama/{{revision}}"
        yield Place(uri, "v1", "v1", secret(folder / "secret", token="t"), front, by_name, lists_sha256=False)


@asynccontextmanager
async def s3(model: Path, folder: Path, running: Servers) -> AsyncIterator[Place]:
    servers.fill_s3(running.s3, model, folder.name)
    async with proxy(running.s3) as front:
        keys = secret(
            folder / "secret",
            AWS_ACCESS_KEY_ID=KEY,
            AWS_SECRET_ACCESS_KEY=SECRET,
            AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{front.port}",
        )
        uri = f"s3://{BUCKET}/{{revision}}"
        yield Place(uri, folder.name, folder.name, keys, front, by_name, lists_sha256=False, says_retry_after=False)


@asynccontextmanager
async def gs(model: Path, folder: Path, running: Servers) -> AsyncIterator[Place]:
    servers.fill_gcs(running.gcs, model, folder.name)
    async with proxy(running.gcs) as front:
        front.names_upstream = True
        base = f"http://127.0.0.1:{front.port}"
        nothing = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        account = json.dumps({"gcs_base_url": base, "disable_oauth": True, **nothing})
        keys = secret(folder / "secret", GOOGLE_SERVICE_ACCOUNT_KEY=account, GOOGLE_BASE_URL=base)
        uri = f"gs://{BUCKET}/{{revision}}"

        def target(name: str) -> str:
            return name.replace("-", "%2D").replace(".", "%2E")

        yield Place(uri, folder.name, folder.name, keys, front, target, lists_sha256=False, says_retry_after=False)


@asynccontextmanager
async def oci(model: Path, folder: Path, running: Servers) -> AsyncIterator[Place]:
    digest = servers.push(running.registry, model, folder.name)
    async with proxy(running.registry) as front:
        uri = f"oci://127.0.0.1:{front.port}/{REPOSITORY}"

        def target(name: str) -> str:
            return f"/blobs/sha256:{hashlib.sha256((model / name).read_bytes()).hexdigest()}"

        yield Place(uri, folder.name, digest, secret(folder / "secret"), front, target, lists_sha256=True)


@asynccontextmanager
async def hf(model: Path, folder: Path, running: Servers) -> AsyncIterator[Place]:
    del running
    async with hub(model) as server, proxy(server.port) as front:
        yield hub_place(front, folder)


def hub_place(front: Proxy, folder: Path) -> Place:
    keys = secret(folder / "secret", token=TOKEN, HF_ENDPOINT=f"http://127.0.0.1:{front.port}")

    def target(name: str) -> str:
        return f"/cdn/{COMMIT}/{name}" if name.endswith(".safetensors") else f"/resolve/{COMMIT}/{name}"

    return Place("hf://team/tiny", "main", COMMIT, keys, front, target, lists_sha256=True)


Make = Callable[[Path, Path, Servers], AbstractAsyncContextManager[Place]]
SCHEMES: dict[str, Make] = {"http": plain, "s3": s3, "gs": gs, "oci": oci, "hf": hf}

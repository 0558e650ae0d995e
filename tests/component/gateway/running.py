"""A gateway of this process, its client, and waiting with a deadline."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from llama_serving.common.engine_key import EngineKey
from llama_serving.config.gateway import GatewayConfig, GatewayLoad
from llama_serving.gateway.discovery import Publish
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.server import GatewayServer, ListenAddress

CHAT = "/v1/chat/completions"


class HandDiscovery:
    """Discovery by hand: a test publishes, for as long as the gateway lets it run."""

    def __init__(self) -> None:
        self.publish: Publish | None = None

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        try:
            await asyncio.Event().wait()
        finally:
            self.publish = None


@dataclass
class Answer:
    """What a client got; ``broken`` when the answer had no proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    @property
    def error(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.body)["error"]
        return loaded


@dataclass
class Gateway:
    """A running gateway and a client of it."""

    server: GatewayServer
    discovery: HandDiscovery
    session: aiohttp.ClientSession
    port: int
    admin_port: int

    def know(self, *endpoints: Endpoint) -> None:
        assert self.discovery.publish is not None
        self.discovery.publish(endpoints)

    async def request(
        self,
        path: str = CHAT,
        *,
        method: str = "POST",
        data: Any = b"{}",
        on_piece: Callable[[], None] = lambda: None,
        **more: Any,
    ) -> Answer:
        """Send a request; ``on_piece`` is called after each piece of the answer."""
        async with self.session.request(method, f"http://127.0.0.1:{self.port}{path}", data=data, **more) as response:
            pieces = []
            broken = False
            try:
                async for piece in response.content.iter_any():
                    pieces.append(piece)
                    on_piece()
            except (aiohttp.ClientError, ConnectionError):
                broken = True
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, b"".join(pieces), broken)

    async def load(self) -> GatewayLoad:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}/load") as response:
            return GatewayLoad.model_validate_json(await response.read())

    async def admin(self, path: str) -> Answer:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}{path}") as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def totals(self) -> dict[str, int]:
        """Return the counters that are not zero."""
        return {name: count for name, count in (await self.load()).totals.items() if count}


@asynccontextmanager
async def gateway(*endpoints: Endpoint, **config: Any) -> AsyncIterator[Gateway]:
    """Run a gateway that knows ``endpoints``; with no ``endpoints`` it has not been told anything yet.

    ``models`` among the settings is its file with the names of models, ``engine_key`` that with the engines' key,
    ``certificates`` the folder with those of TLS, ``idle`` what tells how long its loop has been idle.
    """
    models: Path | None = config.pop("models", None)
    key: Path = config.pop("engine_key", Path("/nonexistent"))
    certificates: Path = config.pop("certificates", Path("/nonexistent"))
    idle: Callable[[], float] = config.pop("idle", time.monotonic)
    given = {"deployment": "d", "namespace": "n", "lame_duck": 0, "drain": 2, "ejection": 0.05, **config}
    discovery = HandDiscovery()
    server = GatewayServer(
        GatewayConfig.model_validate(given),
        discovery,
        models=models,
        credential=EngineKey(key).header_line,
        certificates=certificates,
        idle=idle,
    )
    life = asyncio.create_task(server.serve(ListenAddress("127.0.0.1", 0, 0)))
    async with asyncio.timeout(10):
        await server.started.wait()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        running = Gateway(server, discovery, session, server.port, server.admin_port)
        if endpoints:
            running.know(*endpoints)
        try:
            yield running
        finally:
            server.handle_exit()
            server.handle_exit()
            await life


async def until(condition: Callable[[], Any], *, seconds: float = 10, shows: Callable[[], object] = lambda: "") -> None:
    """Wait until ``condition()`` (a value or a coroutine) is true; fail with what ``shows()`` says."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {shows()}"
        await asyncio.sleep(0.005)

"""The sidecar as a process: it starts from its files, brings weights over HTTP, and ends at once on SIGTERM."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from llama_serving.config.cell import CellConfig, Layout
from llama_serving.config.desired import StagingState, WeightsArtifact
from tests.fakes.staging import checkpoint, read_safetensors

MODEL = checkpoint(layers=4, shards=2, width=300_000)
SECONDS = 50.0


class Server:
    """Serves the model with ranges; while ``open`` is not set, only what is small."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        data = MODEL.files.get(request.path.strip("/"))
        if data is None:
            raise web.HTTPNotFound
        asked = request.http_range
        begin, end = asked.start or 0, min(len(data), asked.stop or len(data))
        if end - begin > 100_000:
            await self.open.wait()
        headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        return web.Response(status=206, body=data[begin:end], headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    mine = Server()
    app = web.Application()
    app.router.add_get("/{name}", mine.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    mine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield mine
    mine.open.set()
    await runner.cleanup()


class Sidecar:
    """The process, with a folder in place of each of its volumes."""

    def __init__(self, root: Path, item: WeightsArtifact, *, stage: int) -> None:
        self.root = root
        self._stage = stage
        (root / "weights").mkdir()
        (root / "next.json").write_text(item.model_dump_json())
        config = CellConfig(
            deployment="chat",
            namespace="default",
            group=0,
            pod_hash="r",
            stage_hosts=("a", "b"),
            weights=item.weights,
            layout=Layout(pipeline=2, tensor=1, device="cpu"),
            context_length=128,
        )
        (root / "cell.json").write_text(config.model_dump_json())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        flags = {"config": "cell.json", "configured": "next.json", "desired": "desired.json", "state": "staging.json"}
        paths = [word for flag, name in flags.items() for word in (f"--{flag}", str(self.root / name))]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llama_serving.weights", "stage", *paths),
            *("--mount", str(self.root / "weights"), "--credentials", str(self.root / "none")),
            env={**os.environ, "LLAMA_STAGE": str(self._stage)},
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def until(self, seen: Callable[[StagingState], bool]) -> StagingState:
        end, state = time.monotonic() + SECONDS, None
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                state = StagingState.model_validate_json((self.root / "staging.json").read_bytes())
                if seen(state):
                    return state
            await asyncio.sleep(0.02)
        raise AssertionError(f"not within {SECONDS} s; last seen: {state}")


async def stop(process: asyncio.subprocess.Process) -> float:
    """SIGTERM; the seconds until it has ended, with 0."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), SECONDS) == 0
    return time.monotonic() - begun


async def test_it_ends_at_once_on_sigterm_and_goes_on_after_a_restart(tmp_path: Path, server: Server) -> None:
    item = MODEL.item(source=server.url)
    sidecar = Sidecar(tmp_path, item, stage=1)
    async with sidecar.running() as process:
        state = await sidecar.until(lambda state: bool(state.weights) and state.weights[0].bytes_done > 0)
        assert state.weights[0].outcome == "working"
        assert state.weights[0].bytes_total > 3_000_000
        assert await stop(process) < 10
    server.open.set()
    async with sidecar.running() as process:
        await sidecar.until(lambda state: bool(state.weights) and state.weights[0].outcome == "ready")
        assert await stop(process) < 10
    folder = tmp_path / item.weights.path.lstrip("/") / "stage-1-of-2"
    assert "lm_head.weight" in read_safetensors(folder)
    assert read_safetensors(folder).items() <= MODEL.tensors.items()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o755}


@pytest.mark.parametrize(("stage", "config"), [(2, True), (0, False)], ids=["no such stage", "no config"])
async def test_a_wrong_config_ends_it_with_a_sentence(tmp_path: Path, stage: int, config: bool) -> None:
    sidecar = Sidecar(tmp_path, MODEL.item(), stage=stage)
    if not config:
        (tmp_path / "cell.json").unlink()
    async with sidecar.running() as process:
        assert await asyncio.wait_for(process.wait(), SECONDS) == 2

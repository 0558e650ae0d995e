"""Streams of a real vLLM server that are cut, and continued by the gateway: the same greedy text, token for token.

One server plays both groups: one is reached through a wire that breaks. The tiny model says random tokens, so that
characters of several tokens, and tokens that never become characters, are all over its answers. float32, because with
bfloat16 a prompt read at once and the same tokens made one by one differ in the last bits, which may turn a greedy
choice between two tokens that are as good as equal.
"""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from llama_serving.gateway.routing.endpoint import Endpoint
from testbed.ports import free_port
from tests.component.gateway.running import Gateway, gateway, until
from tests.serving.pods import eventually
from tests.unit.gateway.continuation.engine import CHAT, TEXT, seen

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START = 240  # seconds; 25 on two idle cores
CUTS = 8
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or vLLM gives the one worker a process, and both look out for each other
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a vLLM server."""
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("engine")
    make(folder / "model", seed=1)
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--served-model-name", "llama", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "512", "--max-num-seqs", "4", "--enforce-eager"]
    command += ["--distributed-executor-backend", "uni"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output)
    try:
        eventually(lambda: answers(port), within=START, what="an engine", tail=lambda: tail(log))
        yield port
    finally:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


@dataclass
class Wire:
    """A way to the engine that breaks behind so many bytes of an answer, once."""

    engine: int
    port: int = 0
    breaks_behind: int | None = None
    carriers: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.carriers.add(task)
        from_engine, to_engine = await asyncio.open_connection("127.0.0.1", self.engine)
        request = asyncio.create_task(copy(reader, to_engine))
        try:
            while not self._is_broken() and (data := await from_engine.read(65536)):
                if self.breaks_behind is not None:
                    data, self.breaks_behind = data[: self.breaks_behind], self.breaks_behind - len(data)
                writer.write(data)
        finally:
            request.cancel()
            to_engine.close()
            writer.close()
            self.carriers.discard(task)

    def _is_broken(self) -> bool:
        broken = self.breaks_behind is not None and self.breaks_behind <= 0
        if broken:
            self.breaks_behind = None
        return broken


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def wire_to(engine: int) -> AsyncIterator[Wire]:
    wire = Wire(engine)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for carrier in wire.carriers:
            carrier.cancel()
        await asyncio.gather(*wire.carriers, return_exceptions=True)


async def ask(running: Gateway, path: str, body: dict[str, Any]) -> bytes:
    headers = {"content-type": "application/json"}
    got = await running.request(path, data=json.dumps(body).encode(), headers=headers)
    assert (got.status, got.broken) == (200, False), got
    return got.body


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"max_tokens": 60}),
    "counted": (CHAT, {"max_tokens": 20, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
    "without a limit": (CHAT, {"stop": ["er"]}),
    "text": (TEXT, {"max_tokens": 60, "ignore_eos": True}),
    "stop strings": (TEXT, {"max_tokens": 60, "ignore_eos": True, "stop": ["never said by chance"]}),
    "token ids": (TEXT, {"max_tokens": 30, "ignore_eos": True, "return_token_ids": True}),
    "penalty": (TEXT, {"max_tokens": 40, "ignore_eos": True, "repetition_penalty": 1.3, "min_tokens": 9}),
    "special tokens": (TEXT, {"max_tokens": 60, "ignore_eos": True, "skip_special_tokens": False}),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_cut_stream_says_the_same(engine: int, case: str) -> None:
    path, more = CASES[case]
    asked: dict[str, Any] = {"model": "llama", "stream": True, "temperature": 0, **more}
    asked |= {"prompt": "The leader waits"} if path == TEXT else {"messages": [{"role": "user", "content": "Who?"}]}
    direct = Endpoint("b", "b", 1, "w", "127.0.0.1", engine, True)
    async with wire_to(engine) as wire, gateway(direct, max_retries=3) as running:
        want = seen(await ask(running, path, asked))
        through = Endpoint("a", "a", 0, "w", "127.0.0.1", wire.port, True)
        running.know(through)
        length = len(await ask(running, path, asked)) * 5 // 4  # with heads of chunks and token ids
        for number in range(CUTS):
            wire.breaks_behind = 300 + length * number // CUTS
            running.know(through)
            request = asyncio.create_task(ask(running, path, asked))
            await until(lambda: wire.breaks_behind is None or request.done(), seconds=60)  # noqa: B023
            running.know(direct)
            got = seen(await request)
            assert replace(got, ids=want.ids) == want, wire
            assert len(got.ids) == 1
        totals = await running.totals()
    assert totals.get("continued", 0) >= CUTS // 4, totals
    assert "broken" not in totals

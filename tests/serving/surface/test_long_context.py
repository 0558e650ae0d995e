"""A prompt of 120,000 tokens through the gateway and a real engine: as text, as token ids, cut and continued.

One layer with one head, because on a CPU the attention of so many tokens takes a minute for each. The engine keeps
what it computed of the prompt, so only the first request waits for it.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import aiohttp
import pytest

from llama_serving.gateway.routing.endpoint import Endpoint
from testbed.ports import free_port
from tests.component.gateway.running import Gateway, gateway, until
from tests.serving.pods import eventually
from tests.serving.test_continuation import ENVIRONMENT, START, answers, tail, wire_to
from tests.soak import soak
from tests.unit.gateway.continuation.engine import TEXT, Seen, seen

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [soak, pytest.mark.serving, pytest.mark.timeout(1500), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

CONTEXT: Final = 131_072
TOKENS: Final = 120_000
SENTENCE: Final = "The first stage is the leader: it starts the cluster, waits for the others, and serves the model. "
PREFILL: Final = 900.0  # seconds; 90 on two idle cores
PATIENT: Final = aiohttp.ClientTimeout(total=2 * PREFILL)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a vLLM server whose model has the context of Llama 3.1."""
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("engine")
    make(folder / "model", seed=1, context=CONTEXT, layers=1, heads=1)
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--served-model-name", "llama", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", str(CONTEXT), "--max-num-seqs", "2", "--enforce-eager"]
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


async def post(running: Gateway, path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps({"model": "llama", **body}).encode()
    headers = {"content-type": "application/json"}
    got = await running.request(path, data=data, headers=headers, timeout=PATIENT)
    assert (got.status, got.broken) == (200, False), got.body[:1000]
    return got.body


async def tokens_of(running: Gateway, text: str) -> list[int]:
    answer = json.loads(await post(running, "/tokenize", {"prompt": text}))
    found: list[int] = answer["tokens"]
    return found


async def stream(running: Gateway, prompt: str | list[int]) -> tuple[Seen, int]:
    """What a client makes of the stream, and how many comments it had."""
    asked = {"prompt": prompt, "stream": True, "temperature": 0, "max_tokens": 12, "ignore_eos": True}
    body = await post(running, TEXT, asked)
    events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    said = b"".join(event for event in events if event[:1] != b":")
    return replace(seen(said), ids=frozenset()), sum(event[:1] == b":" for event in events)


async def test_a_prompt_of_a_whole_context_is_answered_and_continued(engine: int) -> None:
    direct = Endpoint("b", "b", 1, "w", "127.0.0.1", engine, True)
    async with wire_to(engine) as wire, gateway(first_byte_timeout=PREFILL, sse_keep_alive=1) as running:
        running.know(direct)
        each = len(await tokens_of(running, SENTENCE * 200)) / 200
        text = SENTENCE * int(TOKENS / each)
        ids = await tokens_of(running, text)
        assert TOKENS * 0.99 < len(ids) < CONTEXT
        whole, comments = await stream(running, ids)
        assert (len(whole.text) > 0, whole.finish, whole.ended) == (True, "length", True)
        assert comments > 0, "the computation of the prompt was silent for seconds"
        assert (await stream(running, text))[0] == whole, "text and ids are the same prompt"
        length = len(json.dumps(ids, separators=(",", ":")))
        through = Endpoint("a", "a", 0, "w", "127.0.0.1", wire.port, True)
        for behind in (length // 2, length + 2500):  # within the ids of the prompt, and behind them
            wire.breaks_behind = behind
            running.know(through)
            request = asyncio.create_task(stream(running, ids))
            await until(lambda: wire.breaks_behind is None or request.done(), seconds=120)  # noqa: B023
            running.know(direct)
            assert (await request)[0] == whole
        totals = await running.totals()
        load = await running.load()
    assert totals.get("continued", 0) + totals.get("retried", 0) >= 1, totals
    assert "broken" not in totals
    assert load.arrived.prompt_tokens > 3 * TOKENS

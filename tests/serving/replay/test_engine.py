"""Streams of a real engine that are cut and replayed by the same gateway that users have: the same greedy answer.

One server plays both groups, as in ``tests/serving/test_continuation.py``. Its tiny model says random tokens, so what
gives its answers their form is the grammar alone.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from llama_serving.gateway.routing.endpoint import Endpoint
from testbed.ports import free_port
from tests.component.gateway.running import gateway, until
from tests.serving.pods import eventually
from tests.serving.test_continuation import ENVIRONMENT, START, answers, ask, tail, wire_to
from tests.unit.cell.replica.structured.schemas import schema_of
from tests.unit.gateway.continuation.replaying import CHAT, Answer, answer_of

pytestmark = [pytest.mark.serving, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

from tests.serving.replay.models import THINKING, make_model  # noqa: E402

TEXT = "/v1/completions"
CUTS = 4
SEEDS = range(200 if os.environ.get("LLAMA_SOAK") == "1" else 16)
COUNTED = {"stream_options": {"include_usage": True}}
ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99}, "b": {"enum": ["ü", "🙂", None]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "schema": (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema_of(3)}}},
    ),
    "regex": (TEXT, {"structured_outputs": {"regex": "([a-z]{3}|é🙂){9}!"}, **COUNTED}),
    "required": (CHAT, {"tools": [ADD], "tool_choice": "required", **COUNTED}),
    "named": (CHAT, {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "add"}}}),
    "logprobs": (CHAT, {"logprobs": True, "top_logprobs": 2, "max_tokens": 20}),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that replays."""
    folder = tmp_path_factory.mktemp("engine")
    make_model(folder / "model", THINKING)
    port = free_port()
    command = [sys.executable, "-m", "tests.serving.replay.server", "--model", str(folder / "model")]
    command += ["--served-model-name", "llama", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "1024", "--max-num-seqs", "4", "--enforce-eager"]
    command += ["--distributed-executor-backend", "uni", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    log = folder / "log"
    environment = {**os.environ, **ENVIRONMENT, "TORCHDYNAMO_DISABLE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[3],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        eventually(lambda: answers(port), within=START, what="an engine", tail=lambda: tail(log))
        yield port
    finally:
        process.terminate()
        process.wait(60)
        with contextlib.suppress(ProcessLookupError):  # the engine's core may outlive its server
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("case", CASES)
async def test_a_cut_stream_says_the_same(engine: int, case: str) -> None:
    path, more = CASES[case]
    prompt = {"prompt": "Go"} if path == TEXT else {"messages": [{"role": "user", "content": "Go"}]}
    asked = {"model": "llama", "stream": True, "temperature": 0, "max_tokens": 120, **prompt, **more}
    direct = Endpoint("b", "b", 1, "w", "127.0.0.1", engine, True)
    async with wire_to(engine) as wire, gateway(direct, max_retries=3) as running:
        first = await ask(running, path, asked)
        want = answer_of(first)
        through = Endpoint("a", "a", 0, "w", "127.0.0.1", wire.port, True)
        for number in range(CUTS):
            wire.breaks_behind = 600 + len(first) * number // CUTS
            running.know(through)
            request = asyncio.create_task(ask(running, path, asked))
            await until(lambda: wire.breaks_behind is None or request.done(), seconds=60)  # noqa: B023
            running.know(direct)
            check(answer_of(await request), want)
        totals = await running.totals()
    assert totals.get("continued", 0) >= 1, totals
    assert "broken" not in totals


def check(got: Answer, want: Answer) -> None:
    """Log-probabilities are those of two ways to compute: they differ in their last digits."""
    assert len(got.names) == 1
    assert [len(found) for found in got.call_ids.values()] == [len(found) for found in want.call_ids.values()]
    one, other = ({**vars(found), "names": (), "call_ids": (), "logprobs": ()} for found in (got, want))
    assert one == other
    assert [found["token"] for found in got.logprobs] == [found["token"] for found in want.logprobs]
    for found, expected in zip(got.logprobs, want.logprobs, strict=True):
        assert found["logprob"] == pytest.approx(expected["logprob"], abs=1e-3)


async def test_answers_to_the_corpus_of_schemas_validate(engine: int) -> None:
    direct = Endpoint("b", "b", 1, "w", "127.0.0.1", engine, True)
    async with gateway(direct) as running:
        for start in range(0, len(SEEDS), 4):
            await asyncio.gather(*[answers_with_its_schema(running, seed) for seed in SEEDS[start : start + 4]])


async def answers_with_its_schema(running: Any, seed: int) -> None:
    schema = schema_of(seed)
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = {"model": "llama", "temperature": 0, "max_tokens": 900, "response_format": shape}
    body = json.loads(await ask(running, CHAT, {**asked, "messages": [{"role": "user", "content": "Go"}]}))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop", (seed, choice)
    jsonschema.Draft202012Validator(schema).validate(json.loads(choice["message"]["content"]))

"""Real clients at the gateway: what each gets of a slow engine, with comments in its streams."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.component.gateway.clients.environment import HERE, Ended, program, python, run
from tests.component.gateway.clients.world import MODEL, TEXT, world
from tests.component.gateway.running import CHAT, Gateway

pytestmark = pytest.mark.timeout(600)  # the environment may have to be made first

CHECKED: Final = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore"}  # nothing of the network is asked


def base(running: Gateway) -> str:
    return f"http://127.0.0.1:{running.port}/v1"


def result(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.errors[-3000:]
    found: dict[str, Any] = json.loads(ended.output.splitlines()[-1])
    return found


@pytest.mark.parametrize("client", ["openai", "litellm", "langchain"])
async def test_a_python_client_gets_whole_answers_and_streams(client: str) -> None:
    interpreter = python()
    async with world() as (running, upstream):
        got = result(await run(interpreter, HERE / f"calls_{client}.py", base(running), MODEL, **CHECKED))
        assert (got["whole"], got["stream"]) == (TEXT, TEXT)
        if client == "openai":
            assert got["async"] == TEXT
            assert (got["models"], got["model"], got["missing"]) == ([MODEL], MODEL, "model_not_found")
        assert "broken" not in await running.totals()
    assert not [exchange for exchange in upstream.seen if "authorization" in exchange.headers]


async def test_the_fetch_of_node_gets_whole_answers_and_streams() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing: Node.js 18 or later has the fetch that this test calls")
    async with world() as (running, _):
        got = result(await run(node, HERE / "calls_fetch.mjs", base(running), MODEL))
    assert got == {"whole": TEXT, "stream": TEXT, "comments": True, "done": True}


async def curl(running: Gateway, *options: str, stream: bool, path: str = CHAT) -> Ended:
    asked = json.dumps({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})
    given = ("--silent", "--show-error", "--no-buffer", "--include", "--max-time", "60", "--noproxy", "*")
    data = ("--header", "content-type: application/json", "--data", asked)
    return await run(program("curl", "curl"), *given, *options, *data, f"http://127.0.0.1:{running.port}{path}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "version"),
    [
        (("--http1.0",), "1.0"),
        (("--http1.0", "--header", "connection: keep-alive"), "1.0"),
        (("--http1.1",), "1.1"),
        (("--http2",), "1.1"),  # asks whether it may; it is answered by the version that it asked with
    ],
)
async def test_curl_speaks_both_versions(options: tuple[str, ...], *, version: str, stream: bool) -> None:
    async with world() as (running, _):
        got = await curl(running, *options, stream=stream)
        assert "broken" not in await running.totals()
    assert got.code == 0, got.errors
    start, _, body = got.output.replace("\r", "").partition("\n\n")
    assert start.startswith(f"HTTP/{version} 200")
    if not stream:
        assert json.loads(body)["choices"][0]["message"]["content"] == TEXT
        return
    assert ": keep-alive\n\n" in body
    assert body.endswith("data: [DONE]\n\n")
    assert "x-accel-buffering: no" in start.lower()


async def test_curl_that_insists_on_http_2_is_refused_at_once() -> None:
    async with world() as (running, upstream):
        got = await curl(running, "--http2-prior-knowledge", stream=False)
        text = (await running.admin("/metrics")).body.decode()
    assert got.code not in (0, 28), "refused, and not by the clock"
    assert 'llama_gateway_requests_total{code="505"} 1.0\n' in text
    assert upstream.seen == []


@pytest.mark.parametrize("name", ["requirements", "instructor"])
def test_the_requirements_name_every_client_with_its_version_and_hashes(name: str) -> None:
    lines = (HERE / f"{name}.txt").read_text().splitlines()
    pinned = {line.removesuffix(" \\") for line in lines if line[0] != " "}
    wanted = [line for line in (HERE / f"{name}.in").read_text().splitlines() if line and line[0] != "#"]
    assert wanted
    assert set(wanted) <= pinned
    assert all("==" in line for line in pinned)
    hashed = [line for line, after in pairwise(lines) if line[0] != " " and after.startswith("    --hash=sha256:")]
    assert len(hashed) == len(pinned), "each with the hashes of its files"


def test_every_program_is_called() -> None:
    called = {f"calls_{client}" for client in ("openai", "litellm", "langchain", "fetch")}
    assert {Path(found).stem for found in HERE.glob("calls_*")} == called

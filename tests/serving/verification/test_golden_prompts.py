"""Golden prompts asked of a real engine: SmolLM2 behind vLLM's own server, by the client that a leader has.

The chat template shows the model how a function is called, by two examples. With the template that the model came with,
which says nothing of tools, the same weights answer with text: that is what a broken template does to a fine-tune.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final

import aiohttp
import pytest

from llama_serving.cell.supervisor.clients import EngineClient
from llama_serving.cell.supervisor.verification import EngineUnderTest, measure
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import ExpectedCall, GoldenPrompt, Measurement, Tool, Verify
from tests.serving.pods import eventually
from tests.unit.config.chat.templates import SMOLLM2_BROKEN, SMOLLM2_TOOLS

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START: Final = 400  # seconds; 30 on two idle cores
HOST: Final = "127.0.0.77"  # of its own, because the client knows one port
CONTEXT: Final = 1024
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
ARGUMENTS: Final = (
    "--served-model-name llama --dtype float32 --max-num-seqs 8 --enforce-eager --distributed-executor-backend uni"
    f" --max-model-len {CONTEXT} --host {HOST} --port {names.PORT_ENGINE}"
    " --enable-auto-tool-choice --tool-call-parser hermes --trust-request-chat-template"
)

WEATHER: Final = GoldenPrompt(
    prompt="What is the weather in Paris?",
    tools=(
        Tool(
            name="get_weather",
            description="Get the weather of a city",
            parameters='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
        ),
    ),
    expect_call=ExpectedCall(name="get_weather", arguments='{"city": "Paris"}'),
    max_tokens=64,
)
FRUIT: Final = (
    '{"type": "object", "properties": {"fruit": {"enum": ["apple", "pear"]}, "sweet": {"type": "boolean"}},'
    ' "required": ["fruit", "sweet"], "additionalProperties": false}'
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM server that parses tool calls."""
    from testbed.models.smollm2 import make

    folder = tmp_path_factory.mktemp("golden")
    make(folder / "model")
    template = folder / "tools.jinja"
    template.write_text(SMOLLM2_TOOLS)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += [*ARGUMENTS.split(), "--chat-template", str(template)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output)
    try:
        eventually(answers, within=START, what="an engine", tail=lambda: log.read_text(errors="replace")[-3000:])
        yield HOST
    finally:
        process.terminate()
        process.wait(60)


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{names.PORT_ENGINE}/v1/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def measured(engine: str, *golden: GoldenPrompt, template: str = "") -> Measurement:
    """What a leader measures of the engine; ``template`` takes the place of its chat template."""
    subject = EngineUnderTest(
        weights=WeightsRef(path="/models", id="v1", served_name="llama", digest="sha256:aa"),
        context_length=CONTEXT,
        stage_digests=("sha256:aa",),
    )
    async with aiohttp.ClientSession() as session:
        client = EngineClient(session, host=engine, served_name="llama")

        async def ask(route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
            other = {"chat_template": template} if template and "messages" in body else {}
            return await client.ask(route, {**body, **other})

        taken = await measure(ask, subject, Verify(golden=golden), before=None, clock=time.monotonic)
    assert taken.measurement.error == ""
    return taken.measurement


async def test_a_golden_call_passes_and_with_a_broken_template_fails(engine: str) -> None:
    (good,) = (await measured(engine, WEATHER)).golden
    assert (good.passed, good.call, good.problem) == (True, "get_weather", ""), good
    (broken,) = (await measured(engine, WEATHER, template=SMOLLM2_BROKEN)).golden
    assert (broken.passed, broken.call) == (False, ""), broken
    assert broken.problem.startswith('expected a call of get_weather with {"city": "Paris"}, got text "'), broken


@pytest.mark.parametrize("chat", [True, False])
async def test_a_golden_schema_passes_on_a_model_that_knows_nothing_of_json(engine: str, *, chat: bool) -> None:
    asked = GoldenPrompt(prompt="Name a fruit.", answer_schema=FRUIT, max_tokens=64, chat=chat)
    (found,) = (await measured(engine, asked)).golden
    assert (found.passed, found.problem) == (True, ""), found


async def test_an_answer_that_is_cut_off_is_no_json_and_says_so(engine: str) -> None:
    asked = GoldenPrompt(prompt="Name a fruit.", answer_schema=FRUIT, max_tokens=2)
    (found,) = (await measured(engine, asked)).golden
    assert not found.passed
    assert found.problem.endswith("; the answer was cut off at maxTokens, 2"), found


async def test_a_schema_that_the_engine_refuses_has_failed_with_its_words(engine: str) -> None:
    asked = GoldenPrompt(prompt="Name a fruit.", answer_schema='{"type": "frut"}')
    (found,) = (await measured(engine, asked)).golden
    assert not found.passed
    assert "frut" in found.problem or "with status 400" in found.problem, found


async def test_each_language_is_measured_and_again_the_same(engine: str) -> None:
    first, second = await measured(engine), await measured(engine)
    assert [one.language for one in first.by_text][::7] == ["English", "Thai"]
    assert first.by_text == second.by_text
    assert first.texts == second.texts
    means = {one.language: one.mean_logprob for one in first.by_text}
    assert means["English"] > -4, means
    assert min(means.values()) > -20, means

"""Tool calls through a real vLLM on CPU: what a random model says is a valid call where the request asks for one."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.chat import templates

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the serving environment"),
]

ROOT = Path(__file__).parents[3]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Turin"]}, "days": {"enum": [1, 2, 7]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {"name": "weather", "parameters": PARAMETERS}
CLOCK: dict[str, Any] = {"name": "clock", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": one} for one in (WEATHER, CLOCK)]
NAMED = {"type": "function", "function": {"name": "clock"}}
TEMPLATES = {
    "hermes": templates.HERMES, "llama3_json": templates.LLAMA3_JSON, "pythonic": templates.PYTHONIC,
}  # fmt: skip


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Weather in Oslo?"}]
    return {
        "model": "llama", "messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 400,
        "parallel_tool_calls": False, **more,
    }  # fmt: skip


ASKED = (
    body(tool_choice="required"),
    body(tool_choice=NAMED),
    body(tool_choice="required", stream=True),
    body(tool_choice=NAMED, stream=True),
    body(tool_choice="auto", max_tokens=8),
    body(tool_choice="none", max_tokens=8),
)
WITHOUT = (
    (CHAT, body()),
    (CHAT, body(tool_choice="required")),
    (CHAT, body(stream=True)),
    (RESPONSES, {"model": "llama", "input": "hi", "tools": [{"type": "function", **WEATHER}]}),
    (CHAT, body(tool_choice="none", max_tokens=4)),
    (CHAT, {key: value for key, value in body(max_tokens=4).items() if key not in ("tools", "parallel_tool_calls")}),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The answers by frontend: each parser, and a model without one."""
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("tools")
    make(folder / "tiny", seed=1, context=4096)
    model = with_token(folder / "tiny", folder / "model", token="<|python_tag|>")
    frontends: dict[str, dict[str, Any]] = {
        "none": {"cell": {}, "requests": WITHOUT},
        "off": {"cell": {"tools": "off"}, "requests": WITHOUT[:1]},
    }
    for name, text in TEMPLATES.items():
        (folder / name).write_text(text, encoding="utf-8")
        asked = [(CHAT, one) for one in ASKED]
        frontends[name] = {"cell": {"chat_template": str(folder / name)}, "requests": asked}
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.tools.served", str(model)],
        input=json.dumps(list(frontends.values())), capture_output=True, text=True, cwd=ROOT, env=dict(os.environ),
        timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(frontends, json.loads(done.stdout.splitlines()[-1]), strict=True))


def with_token(source: Path, target: Path, *, token: str) -> Path:
    """A copy of the tiny model whose padding token has another name."""
    shutil.copytree(source, target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = target / name
        file.write_text(file.read_text(encoding="utf-8").replace("<|pad|>", token), encoding="utf-8")
    return target


def call_of(answer: dict[str, Any]) -> tuple[str, Any, str]:
    """Name and arguments of the first call, and why the answer ended; a stream's deltas put together."""
    assert answer["status"] == 200, answer["text"]
    if answer["text"].startswith("data:"):
        return _streamed(answer["text"])
    choice = json.loads(answer["text"])["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"]), choice["finish_reason"]


def _streamed(text: str) -> tuple[str, Any, str]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    name, arguments, reason, starts = "", "", "", 0
    for choice in (one for line in lines[:-1] for one in json.loads(line)["choices"]):
        for delta in choice["delta"].get("tool_calls") or ():
            if delta["index"] == 0:
                starts += bool(delta.get("id"))
                name += delta["function"].get("name") or ""
                arguments += delta["function"].get("arguments") or ""
        reason = choice["finish_reason"] or reason
    assert starts == 1, text
    return name, json.loads(arguments), reason


@pytest.mark.parametrize("parser", TEMPLATES)
@pytest.mark.parametrize("index", range(4))
def test_a_call_that_is_asked_for_is_valid(answers: dict[str, list[dict[str, Any]]], parser: str, index: int) -> None:
    name, arguments, reason = call_of(answers[parser][index])
    assert name in ("weather", "clock") if ASKED[index]["tool_choice"] == "required" else name == "clock"
    assert arguments["city"] in ("Oslo", "Turin")
    assert arguments["days"] in (1, 2, 7)
    assert set(arguments) == {"city", "days"}
    assert reason in ("tool_calls", "stop")


@pytest.mark.parametrize("parser", TEMPLATES)
def test_a_stream_makes_the_same_call_as_an_answer_at_once(
    answers: dict[str, list[dict[str, Any]]], parser: str
) -> None:
    assert call_of(answers[parser][2])[:2] == call_of(answers[parser][0])[:2]
    assert call_of(answers[parser][3])[:2] == call_of(answers[parser][1])[:2]


@pytest.mark.parametrize("parser", TEMPLATES)
@pytest.mark.parametrize("index", [4, 5])
def test_a_call_that_is_free_gives_a_call_or_text(
    answers: dict[str, list[dict[str, Any]]], parser: str, index: int
) -> None:
    answer = answers[parser][index]
    assert answer["status"] == 200, answer["text"]
    message = json.loads(answer["text"])["choices"][0]["message"]
    assert message.get("tool_calls") or message["content"]


@pytest.mark.parametrize("index", range(4))
def test_a_model_without_a_parser_says_why_and_what_to_set(
    answers: dict[str, list[dict[str, Any]]], index: int
) -> None:
    answer = answers["none"][index]
    assert answer["status"] == 400, answer["text"]
    error = json.loads(answer["text"])["error"]
    assert error["message"].startswith("this model is served without tools: the chat template has no tools; ")
    assert "spec.model.tools" in error["message"]
    assert "--" not in error["message"]
    assert (error["param"], error["code"], error["type"]) == ("tools", 400, "BadRequestError")


@pytest.mark.parametrize("index", [4, 5])
def test_without_a_call_such_a_model_answers(answers: dict[str, list[dict[str, Any]]], index: int) -> None:
    assert answers["none"][index]["status"] == 200, answers["none"][index]["text"]


def test_tools_that_are_off_are_refused_with_the_field(answers: dict[str, list[dict[str, Any]]]) -> None:
    error = json.loads(answers["off"][0]["text"])["error"]
    assert "spec.model.tools is off" in error["message"]

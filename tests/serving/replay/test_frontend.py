"""A replay cut at every event continues the stream of vLLM's own frontend byte for byte, whatever parser reads it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.gateway.continuation.replaying import CHAT, Recording, answer_of, ids_of, prompt_of, recording

# The frontends are made once, and belong to the loop in which they were made.
pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.asyncio(loop_scope="module"),
]

pytest.importorskip("vllm", reason="needs the serving environment")

from llama_serving.config import names  # noqa: E402
from tests.serving.replay.models import CALLING, THINKING, make_model  # noqa: E402
from tests.serving.replay.scripted_engine import Script, Server, server  # noqa: E402

TEXT = "/v1/completions"
RECORD = os.environ.get("LLAMA_RECORD_REPLAYS")  # a folder: write the corpus of the gateway's tests there


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}


TOOLS = [
    _tool("get_weather", city={"type": "string"}, unit={"enum": ["C", "F"]}),
    _tool("add", a={"type": "integer"}, b={"type": "integer"}),
]
COUNTED = {"stream_options": {"include_usage": True}}
ALWAYS = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
LLAMA = ("--enable-auto-tool-choice", "--tool-call-parser", "llama3_json")
HERMES = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
THINKS = ("--reasoning-parser", "deepseek_r1")
CALL = '{"name": "get_weather", "parameters": {"city": "Kyïv 🙂", "unit": "C"}}'
ADD = '{"name": "add", "parameters": {"a": 2, "b": 3}}'

#: options of the server, route, request, what the engine says
CASES: dict[str, tuple[tuple[str, ...], str, dict[str, Any], Script]] = {
    "json_schema": (
        (),
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}},
        Script('{"name": "Zoë 🙂 \\"q\\""}', sizes=(1, 2, 3)),
    ),
    "json_object": ((), CHAT, {"response_format": {"type": "json_object"}, **COUNTED}, Script('{"a": [1, "é"]}')),
    "guided": ((), TEXT, {"guided_regex": "[a-z]{3}-(é|🙂)+", **ALWAYS}, Script("abc-é🙂é")),
    "choice": (LLAMA, CHAT, {"structured_outputs": {"choice": ["nötig", "ja"]}}, Script("nötig")),
    "logprobs": ((), CHAT, {"logprobs": True, "top_logprobs": 2}, Script("Hi 🙂 नम", sizes=(2,))),
    "text_logprobs": ((), TEXT, {"logprobs": 2, "stop": ["never said"]}, Script("The group 🙂 waits")),
    "auto": (LLAMA, CHAT, {"tools": TOOLS, **COUNTED}, Script(CALL)),
    "parallel": (LLAMA, CHAT, {"tools": TOOLS}, Script(f"{CALL}; {ADD}", sizes=(1, 1, 4, 1, 2))),
    "required": (LLAMA, CHAT, {"tools": TOOLS, "tool_choice": "required", **COUNTED}, Script(f"{CALL}; {ADD}")),
    "named": (
        LLAMA,
        CHAT,
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "add"}}},
        Script(ADD),
    ),
    "hermes": (
        HERMES,
        CHAT,
        {"tools": TOOLS, "logprobs": True},
        Script(f"Well: <tool_call>\n{ADD.replace('parameters', 'arguments')}\n</tool_call>", sizes=(3, 1, 1)),
    ),
    "reasoning": (THINKS, CHAT, {**ALWAYS}, Script("Let me think 🙂.</think>It is 4.")),
    "reasoning_schema": (
        THINKS,
        CHAT,
        {"response_format": {"type": "json_object"}, **COUNTED},
        Script('Hm, é</think>{"a": 1}', sizes=(1, 2)),
    ),
    "reasoning_calls": (
        (*HERMES, *THINKS),
        CHAT,
        {"tools": TOOLS, **COUNTED},
        Script(f"A call, é.</think><tool_call>\n{ADD.replace('parameters', 'arguments')}\n</tool_call>"),
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Model folders, by whether the parser is that of Llama's calls."""
    folder = tmp_path_factory.mktemp("models")
    return {True: make_model(folder / "calling", CALLING), False: make_model(folder / "thinking", THINKING)}


@pytest.fixture(scope="module")
def servers() -> dict[tuple[str, ...], Server]:
    return {}


@pytest_asyncio.fixture(loop_scope="module")
async def case(
    request: pytest.FixtureRequest, models: dict[bool, Path], servers: dict[tuple[str, ...], Server]
) -> tuple[str, Server]:
    options, _, _, script = CASES[request.param]
    if options not in servers:
        servers[options] = await server(models[options == LLAMA], *options)
    servers[options].core.script = script
    return request.param, servers[options]


def asked_of(name: str) -> dict[str, Any]:
    _, path, more, _ = CASES[name]
    prompt = {"messages": [{"role": "user", "content": "Go"}]} if path == CHAT else {"prompt": "Go"}
    return {"model": "llama", "stream": True, "temperature": 0, "max_tokens": 200, **prompt, **more}


async def whole(engine: Server, name: str) -> Recording:
    path, body = CASES[name][1], {**asked_of(name), "return_token_ids": True}
    status, raw = await engine.ask(path, body)
    assert status == 200, raw
    assert raw.endswith(b"data: [DONE]\n\n"), raw[-300:]
    events = tuple(json.loads(event[6:]) for event in raw.split(b"\n\n")[:-2])
    return Recording(path, asked_of(name), events)


def record(name: str, found: Recording, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.sse").write_bytes(found.whole())
    text = json.dumps({"path": found.path, "body": found.asked}, ensure_ascii=False, indent=1)
    (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def without_names(event: Any) -> Any:
    """An event less what differs between two streams of one engine: id, time, ids of calls."""
    event = {**event, "id": "", "created": 0}
    for choice in event["choices"]:
        for call in choice.get("delta", {}).get("tool_calls") or ():
            call.pop("id", None)
    return event


@pytest.mark.parametrize("case", CASES, indirect=True)
async def test_a_replay_of_every_event(case: tuple[str, Server]) -> None:
    name, engine = case
    recorded = await whole(engine, name)
    want = [without_names(json.loads(json.dumps(event))) for event in recorded.events]
    sizes = [len(ids_of(event)) for event in want]
    prompt = next(found for found in map(prompt_of, want) if found)
    asked = {key: value for key, value in recorded.asked.items() if key not in ("messages", "prompt")}
    for behind in range(1 if recorded.path == CHAT else 0, len(want)):
        made = [ids_of(event) for event in want[:behind] if ids_of(event)]
        if any(choice.get("finish_reason") for event in want[:behind] for choice in event["choices"]):
            break
        body = {"path": recorded.path, "request": {**asked, "return_token_ids": True}, "prompt": prompt, "made": made}
        status, raw = await engine.ask(names.ROUTE_REPLAY, body)
        assert status == 200, raw
        got = [without_names(json.loads(event[6:])) for event in raw.split(b"\n\n")[:-2]]
        assert got[behind:] == want[behind:], behind
        assert [said(event) for event in got[:behind]] == [said(event) for event in want[:behind]]
        assert engine.core.requests[-1].prompt_token_ids == [*prompt, *(token for event in made for token in event)]
    assert sum(sizes) > 5


def said(event: Any) -> Any:
    """An event less its log-probabilities: who asks for a replay has them."""
    return [{key: value for key, value in choice.items() if key != "logprobs"} for choice in event["choices"]]


@pytest.mark.parametrize("case", CASES, indirect=True)
async def test_the_corpus_of_the_gateway_is_what_vllm_sends(case: tuple[str, Server]) -> None:
    """``LLAMA_RECORD_REPLAYS=tests/unit/gateway/continuation/recorded/replay`` writes it anew."""
    name, engine = case
    found = await whole(engine, name)
    if RECORD:
        record(name, found, Path(RECORD))
    kept = recording(name)
    assert (kept.path, kept.asked) == (found.path, found.asked)
    got, want = answer_of(found.whole()), answer_of(kept.whole())
    assert (got.said, got.calls, got.tokens, got.usage) == (want.said, want.calls, want.tokens, want.usage)


@pytest.mark.parametrize("case", ["auto"], indirect=True)
async def test_a_client_cannot_ask_for_a_replay(case: tuple[str, Server]) -> None:
    name, engine = case
    body = {**asked_of(name), "vllm_xargs": {"llama_replayed": 3, "llama_replay_number": 1}, "made": [[1]]}
    status, _ = await engine.ask(CHAT, body)
    assert status == 200
    assert not engine.core.requests[-1].sampling_params.extra_args


@pytest.mark.parametrize("case", ["json_object"], indirect=True)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "a replay needs path, request, prompt and made (KeyError)"),
        ({"path": "/v1/models", "request": {"stream": True}, "prompt": [1], "made": []}, "only streams of"),
        ({"path": CHAT, "request": {}, "prompt": [1], "made": []}, "only streams of"),
        ({"path": CHAT, "request": {"stream": True}, "prompt": [-1], "made": []}, "(TypeError)"),
        ({"path": CHAT, "request": {"stream": True}, "prompt": [1], "made": [["a"]]}, "(TypeError)"),
        ({"path": CHAT, "request": 7, "prompt": [1], "made": []}, "(TypeError)"),
    ],
)
async def test_what_is_no_replay(case: tuple[str, Server], body: dict[str, Any], why: str) -> None:
    status, raw = await case[1].ask(names.ROUTE_REPLAY, body)
    assert status == 400
    assert why in json.loads(raw)["error"]["message"]


@pytest.mark.parametrize("case", ["json_object"], indirect=True)
@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"guided_json": {"type": "strng"}}, "structured_outputs.json.type"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_json"),
        ({"structured_outputs": {"regex": "([a-z"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": ["a"] * 1001}}, "structured_outputs.choice"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"anyOf": []}}}},
            "response_format.json_schema.schema.anyOf",
        ),
    ],
)
async def test_a_bad_schema_is_answered_with_its_place(
    case: tuple[str, Server], more: dict[str, Any], place: str
) -> None:
    body = {"model": "llama", "messages": [{"role": "user", "content": "Go"}], **more}
    status, raw = await case[1].ask(CHAT, body)
    error = json.loads(raw)["error"]
    assert (status, error["code"], error["param"]) == (400, 400, place)
    assert error["message"].startswith(f"{place}: ")


@pytest.mark.parametrize("case", ["choice"], indirect=True)
async def test_old_spellings_are_understood(case: tuple[str, Server]) -> None:
    """vLLM 0.32 ignores them."""
    _, engine = case
    body = {"model": "llama", "messages": [{"role": "user", "content": "Go"}], "guided_json": PERSON}
    status, _ = await engine.ask(CHAT, body)
    assert status == 200
    assert engine.core.requests[-1].sampling_params.structured_outputs.json == PERSON

"""Real clients at the gateway, with tools, schemas and responses; the engine's answers are those of a recorded vLLM."""

import json
from pathlib import Path

import pytest

from tests.component.gateway.clients.cases import ANSWER, CASES, CHAT
from tests.component.gateway.clients.environment import HERE, python, run
from tests.component.gateway.clients.expected import EXPECTED, TEXTS, check
from tests.component.gateway.clients.recordings import FOLDER, case_of
from tests.component.gateway.clients.test_client_matrix import CHECKED, base, result
from tests.component.gateway.clients.world import MODEL, world

pytestmark = pytest.mark.timeout(600)  # the environment may have to be made first


@pytest.mark.parametrize("client", EXPECTED)
async def test_a_client_gets_calls_and_objects(client: str) -> None:
    interpreter = python(client)
    async with world() as (running, upstream):
        got = result(await run(interpreter, HERE / f"tools_{client}.py", base(running), MODEL, **CHECKED))
        assert "broken" not in await running.totals()
    for step in TEXTS.get(client, ()):
        assert got[step] == ANSWER
    if client == "langchain":
        assert got["agent"]["answer"] == ANSWER
    check(client, got)
    assert upstream.seen


def test_every_case_is_recorded_and_every_program_is_called() -> None:
    recorded = {path.name for path in FOLDER.iterdir()}
    assert recorded == {f"{name}.{kind}" for name in CASES for kind in ("json", "sse")}
    assert {path.stem for path in HERE.glob("tools_*.py")} == {f"tools_{client}" for client in EXPECTED}


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_request_finds_its_own_answer(name: str) -> None:
    path, body = CASES[name]
    assert case_of(path, body) == name


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_stream_says_what_the_whole_answer_says(name: str) -> None:
    whole = json.loads(Path(FOLDER / f"{name}.json").read_text())
    events = [part.partition("data: ")[2] for part in Path(FOLDER / f"{name}.sse").read_text().split("\n\n") if part]
    if CASES[name][0] == CHAT:
        assert events.pop() == "[DONE]"
        chunks = [json.loads(event) for event in events]
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        finishes = [
            choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]
        ]
        assert finishes == [whole["choices"][0]["finish_reason"]]
    else:
        last = json.loads(events[-1])
        assert last["type"] == "response.completed"
        assert len(last["response"]["output"]) == len(whole["output"])

"""Measuring an engine: what is requested of it, what follows from its answers, and errors where there are none."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from llama_serving.cell.policy.golden import EngineAnswer
from llama_serving.cell.policy.measurement import CachedMeasurement
from llama_serving.cell.supervisor import verification
from llama_serving.cell.supervisor.quality_texts import BUILT_IN
from llama_serving.cell.supervisor.verification import (
    EngineError,
    EngineRefusedError,
    EngineUnderTest,
    judge,
    measure,
    stage_digests,
)
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import ExpectedCall, GoldenPrompt, Measurement, Tool, Verify, texts_hash
from tests.unit.cell.fakes import FakeClock, FakeEngine

SUBJECT = EngineUnderTest(
    weights=WeightsRef(path="/m", id="v2", served_name="llama", digest="sha256:aa"),
    context_length=512,
    stage_digests=("sha256:aa", "sha256:aa"),
)
NO_CHECKS = Verify()
CAPITAL = GoldenPrompt(prompt="The capital of France?", expect="Paris")


async def ask(
    engine: FakeEngine,
    verify: Verify = NO_CHECKS,
    *,
    subject: EngineUnderTest = SUBJECT,
    before: CachedMeasurement | None = None,
) -> tuple[Measurement, float]:
    clock = FakeClock()

    async def timed(route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        clock.now += 0.5
        return await engine.ask(route, body)

    taken = await measure(timed, subject, verify, before=before, clock=clock)
    return taken.measurement, taken.tokens_per_second


async def test_what_was_measured_is_reported() -> None:
    verify = Verify(golden=(CAPITAL, GoldenPrompt(prompt="1+1=", pattern=r"^\s*2", chat=False)))
    found, speed = await ask(FakeEngine(), verify)
    assert (found.digest, found.id, found.stage_digests) == ("sha256:aa", "v2", ("sha256:aa", "sha256:aa"))
    assert [(golden.passed, golden.answer) for golden in found.golden] == [(True, "Paris"), (False, "Paris")]
    assert (found.mean_logprob, found.error, found.seconds) == (-2.0, "", 2.0)
    assert speed == 32.0, "16 tokens in half a second"


async def test_the_built_in_texts_are_asked_in_one_request() -> None:
    engine = FakeEngine()
    await ask(engine)
    [(_, quality)] = [item for item in engine.questions if "prompt_logprobs" in item[1]]
    assert quality["prompt"] == [one.text for one in BUILT_IN]
    assert (quality["prompt_logprobs"], quality["max_tokens"], quality["temperature"]) == (0, 1, 0)
    assert len(engine.questions) == 2


async def test_the_users_texts_take_the_place_of_the_built_in_ones() -> None:
    engine = FakeEngine()
    await ask(engine, Verify(quality_texts=("mine",)))
    assert engine.questions[-1][1]["prompt"] == ["mine"]


@pytest.mark.parametrize(("context", "tokens", "kept"), [(512, 16, 496), (8, 7, 1), (2, 1, 1)])
async def test_prompts_and_answers_fit_into_the_context(context: int, tokens: int, kept: int) -> None:
    engine = FakeEngine()
    subject = EngineUnderTest(weights=SUBJECT.weights, context_length=context, stage_digests=())
    await ask(engine, subject=subject)
    _, body = engine.questions[0]
    assert (body["max_tokens"], body["truncate_prompt_tokens"]) == (tokens, kept)


async def test_two_engines_with_the_same_answer_have_the_same_hash() -> None:
    one, two = (await ask(FakeEngine()))[0], (await ask(FakeEngine()))[0]
    assert one.answer_hash == two.answer_hash != ""


async def test_an_engine_that_refuses_gives_a_measurement_with_a_sentence() -> None:
    found, _ = await ask(FakeEngine(breaks="the engine refused /v1/completions with status 500: no"))
    assert found.error == "the engine refused /v1/completions with status 500: no"
    assert (found.mean_logprob, found.golden, found.answer_hash) == (None, (), "")


@pytest.mark.parametrize(
    ("answer", "words"), [({}, "without choices"), ({"choices": [{"text": "x"}]}, "no token ids for the fixed prompt")]
)
async def test_an_answer_that_says_nothing_is_an_error(answer: Mapping[str, Any], words: str) -> None:
    async def says(_route: str, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        return answer

    found = await measure(says, SUBJECT, NO_CHECKS, before=None, clock=FakeClock())
    assert words in found.measurement.error


async def test_an_engine_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_route: str, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(verification, "DEADLINE", 0.01)
    found = await measure(hangs, SUBJECT, NO_CHECKS, before=None, clock=FakeClock())
    assert (found.measurement.error, found.tokens_per_second) == (
        "the engine did not answer everything within 0 s",
        0.0,
    )


async def test_what_is_known_of_an_engine_is_not_asked_again_while_it_serves() -> None:
    known, speed = await ask(FakeEngine())
    before = CachedMeasurement(known, speed, NO_CHECKS)
    engine = FakeEngine(says="Rome")
    found, same = await ask(engine, Verify(golden=(CAPITAL,)), before=before)
    assert [route for route, _ in engine.questions] == ["/v1/chat/completions"]
    assert (found.answer_hash, found.mean_logprob, same) == (known.answer_hash, known.mean_logprob, speed)
    assert not found.golden[0].passed
    engine = FakeEngine()
    await ask(engine, Verify(quality_texts=("mine",)), before=before)
    assert [body["prompt"] for _, body in engine.questions] == [["mine"]]


@pytest.mark.parametrize(
    ("ranks", "tensor", "stages"),
    [
        (["a", "b"], 1, ("a", "b")),
        (["a", "a", "b", "b"], 2, ("a", "b")),
        (["a", "c", "b", "b"], 2, ("a and c", "b")),
        ([], 1, ()),
    ],
)
def test_the_digest_of_a_stage_is_that_of_all_its_ranks(ranks: list[str], tensor: int, stages: tuple[str, ...]) -> None:
    assert stage_digests(ranks, tensor=tensor) == stages


LANGUAGES = ["English", "German", "French", "Italian", "Portuguese", "Hindi", "Spanish", "Thai"]


def test_the_built_in_texts_are_one_for_each_language_of_llama_and_substantial() -> None:
    assert [one.language for one in BUILT_IN] == LANGUAGES
    assert len({one.text for one in BUILT_IN}) == 8
    assert all(430 < len(one.text.encode()) < 800 for one in BUILT_IN)


async def test_each_text_has_its_mean() -> None:
    found, _ = await ask(FakeEngine())
    assert [(one.language, one.mean_logprob, one.tokens) for one in found.by_text] == [
        (language, -2.0, 2) for language in LANGUAGES
    ]
    assert found.texts == texts_hash([one.text for one in BUILT_IN])
    mine, _ = await ask(FakeEngine(), Verify(quality_texts=("mine", "other")))
    assert [one.language for one in mine.by_text] == ["", ""]
    assert mine.texts == texts_hash(["mine", "other"]) != found.texts


async def test_texts_come_in_their_order_whatever_the_order_of_the_answers() -> None:
    async def backwards(route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await FakeEngine().ask(route, body)
        if "prompt_logprobs" not in body:
            return answer
        choices = [{"index": k, "prompt_logprobs": [None, {"1": {"logprob": -1.0 - k}}]} for k in (1, 0)]
        return {"choices": choices}

    verify = Verify(quality_texts=("a", "b"))
    taken = await measure(backwards, SUBJECT, verify, before=None, clock=FakeClock())
    assert [one.mean_logprob for one in taken.measurement.by_text] == [-1.0, -2.0]


async def test_an_engine_that_leaves_a_text_out_is_not_believed() -> None:
    async def lazy(route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await FakeEngine().ask(route, body)
        return {"choices": answer["choices"][:1]}

    found = await measure(lazy, SUBJECT, NO_CHECKS, before=None, clock=FakeClock())
    assert found.measurement.error == "the engine measured 1 of 8 texts"


async def test_a_text_that_does_not_fit_is_another_text() -> None:
    short = EngineUnderTest(weights=SUBJECT.weights, context_length=4, stage_digests=())
    found, _ = await ask(FakeEngine(), subject=short)
    assert found.texts == texts_hash([one.text for one in BUILT_IN]) + "-3"


CITY = '{"type": "object", "properties": {"city": {"type": "string"}}}'
WEATHER = GoldenPrompt(
    prompt="The weather in Paris?",
    tools=(Tool(name="get_weather", description="Weather of a city", parameters=CITY), Tool(name="now")),
    expect_call=ExpectedCall(name="get_weather", arguments='{"city": "Paris"}'),
    max_tokens=64,
)


def calls(name: str, arguments: str) -> Mapping[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}


async def measured(
    verify: Verify, chat: Mapping[str, Any] | EngineError
) -> tuple[Measurement, list[Mapping[str, Any]]]:
    """Measure an engine that answers chats so, or refuses them."""
    seen: list[Mapping[str, Any]] = []

    async def says(route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if route != "/v1/chat/completions":
            return await FakeEngine().ask(route, body)
        seen.append(body)
        if isinstance(chat, EngineError):
            raise chat
        return chat

    taken = await measure(says, SUBJECT, verify, before=None, clock=FakeClock())
    return taken.measurement, seen


async def test_tools_are_offered_and_the_call_is_reported() -> None:
    verify = Verify(golden=(WEATHER,))
    found, [body] = await measured(verify, calls("get_weather", '{"city": "Paris", "unit": "C"}'))
    assert (body["tool_choice"], body["temperature"], body["max_tokens"]) == ("auto", 0, 64)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "now"]
    assert body["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    assert body["tools"][1]["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}}
    [golden] = found.golden
    assert (golden.passed, golden.problem) == (True, "")
    assert (golden.call, golden.arguments) == ("get_weather", '{"city": "Paris", "unit": "C"}')
    assert found.checks == verify.key


async def test_a_schema_is_asked_for_and_the_answer_is_checked() -> None:
    golden = GoldenPrompt(prompt="Who?", answer_schema=CITY)
    found, [body] = await measured(Verify(golden=(golden,)), {"choices": [{"message": {"content": '{"city": 5}'}}]})
    asked = body["response_format"]
    assert (asked["type"], asked["json_schema"]["schema"]["type"]) == ("json_schema", "object")
    assert "5 is not of type 'string'" in found.golden[0].problem


async def test_an_engine_that_refuses_tools_has_failed_and_is_not_asked_again() -> None:
    refusal = EngineRefusedError(
        'the engine refused /v1/chat/completions with status 400: "auto" tool choice requires --enable-auto-tool-choice'
    )
    found, seen = await measured(Verify(golden=(WEATHER,)), refusal)
    assert (found.error, len(seen)) == ("", 1)
    [golden] = found.golden
    assert not golden.passed
    assert golden.problem == f"was not answered: {refusal}"
    assert found.mean_logprob == -2.0, "the rest is measured all the same"


async def test_an_engine_that_breaks_over_tools_is_asked_again() -> None:
    found, _ = await measured(Verify(golden=(WEATHER,)), EngineError("the engine did not answer"))
    assert (found.error, found.golden) == ("the engine did not answer", ())


@pytest.mark.parametrize(
    "golden",
    [
        GoldenPrompt(prompt="x", answer_schema="{"),
        GoldenPrompt(prompt="x", answer_schema="[" * 9000),
        GoldenPrompt(prompt="x", tools=(Tool(name="f", parameters="{"),), expect="x"),
    ],
    ids=["no JSON", "too deep", "parameters"],
)
async def test_what_cannot_be_asked_has_failed(golden: GoldenPrompt) -> None:
    found, seen = await measured(Verify(golden=(golden,)), {"choices": []})
    assert (found.error, seen) == ("", [])
    assert found.golden[0].problem.startswith("cannot be checked: it is ")


BRANCHES = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
SLOW_SCHEMA = json.dumps({"$defs": {**BRANCHES, "d40": {"type": "string"}}, "$ref": "#/$defs/d0"})


@pytest.mark.parametrize(
    ("golden", "text"),
    [
        (GoldenPrompt(prompt="x", pattern="(a+)+$"), "a" * 60 + "b"),
        (GoldenPrompt(prompt="x", answer_schema=SLOW_SCHEMA), "1"),
    ],
    ids=["pattern", "schema"],
)
def test_what_would_be_compared_for_years_has_failed(
    golden: GoldenPrompt, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_JUDGE_SECONDS", 0.05)
    found = judge(golden, EngineAnswer(text=text))
    assert not found.passed
    assert found.problem == "cannot be checked: its pattern or schema was not checked in 0.05 s of computing"

"""Measuring an engine: what is requested of it, what follows from its answers, and errors where there are none."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from llama_serving.cell.policy.measurement import CachedMeasurement
from llama_serving.cell.supervisor import verification
from llama_serving.cell.supervisor.quality_texts import BUILT_IN
from llama_serving.cell.supervisor.verification import (
    EngineError,
    EngineUnderTest,
    mean_logprob,
    measure,
    passes,
    stage_digests,
)
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import GoldenPrompt, Measurement, Verify
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
    assert quality["prompt"] == list(BUILT_IN)
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
    ("golden", "answer", "passed"),
    [
        (CAPITAL, "It is Paris.", True),
        (CAPITAL, "It is paris.", False),
        (GoldenPrompt(prompt="x", pattern="(?i)PARIS"), "It is paris.", True),
        (GoldenPrompt(prompt="x", expect="Paris", pattern="^It"), "Paris", False),
        (GoldenPrompt(prompt="x"), "", True),
    ],
)
def test_a_golden_prompt(golden: GoldenPrompt, answer: str, passed: bool) -> None:
    assert passes(golden, answer) is passed


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(EngineError, match="of a golden prompt is not valid"):
        passes(GoldenPrompt(prompt="x", pattern="("), "y")


def test_the_mean_is_over_tokens_not_over_texts() -> None:
    def token(value: float) -> dict[str, dict[str, float]]:
        return {"5": {"logprob": value}}

    assert mean_logprob([[None, token(-1.0)], [None, token(-4.0), token(-4.0)]]) == -3.0


@pytest.mark.parametrize("texts", [[], [[None]], [[None, {"5": {"logprob": float("nan")}}]]])
def test_no_mean_without_numbers(texts: Any) -> None:
    with pytest.raises(EngineError):
        mean_logprob(texts)


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


def test_the_built_in_texts_are_one_for_each_language_and_short() -> None:
    assert len(set(BUILT_IN)) == 8
    assert all(40 < len(text) < 110 for text in BUILT_IN)

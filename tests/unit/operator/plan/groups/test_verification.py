"""The judgement of a verdict: who may get requests, and who is wrong when two groups differ."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api.v1alpha1.status import Baseline, TextBaseline
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.verdicts import group_verdict
from llama_operator.plan.groups.verification import REMEMBERED, Criteria, judge, right_answer, with_baselines
from llama_serving.config.desired import GoldenResult, Measurement, TextQuality, texts_hash
from llama_serving.config.reasons import Reason
from tests.fakes.models import digest_of
from tests.unit.operator.worlds import cell, group, heard, serve_of, state_of, verdict, world

NO_TEXTS = texts_hash([])
V1, V2 = digest_of("v1"), digest_of("v2")


def unit_with(measured: Measurement | None) -> Group:
    pods = group(0)
    seen = world(*pods, cells=heard(*pods, model="v2") | {pods[0].name: cell(model="v2", measurement=measured)})
    (found,) = state_of(seen).groups
    return found


def bench(
    *, answers: tuple[tuple[str, str], ...] = (), baselines: dict[str, float] | None = None, **asked: Any
) -> Criteria:
    known = baselines if baselines is not None else {V1: -3.5}
    stored = tuple(Baseline(digest=digest, texts=NO_TEXTS, mean_logprob=mean) for digest, mean in known.items())
    return Criteria(VerifySpec.model_validate(asked), stored, V1, answers)


GOLDEN = [{"prompt": "Capital of France?", "expect": "Paris"}]
PASSED = GoldenResult(prompt="Capital of France?", passed=True, answer="Paris")
FAILED = GoldenResult(prompt="Capital of France?", passed=False, answer="banana")


@pytest.mark.parametrize(
    ("measured", "asked", "passed", "words"),
    [
        (verdict("v2"), {}, True, "mean log-probability -3.50 nats per token"),
        (None, {}, None, "running its golden prompts"),
        (verdict("v1"), {}, None, "running its golden prompts"),
        (verdict("v2"), {"goldenPrompts": GOLDEN}, None, "the 1 golden prompt of spec.verify"),
        (verdict("v2", golden=(PASSED,)), {"goldenPrompts": GOLDEN}, True, "1 of 1 golden prompts passed"),
        (
            verdict("v2", golden=(FAILED,)),
            {"goldenPrompts": GOLDEN},
            False,
            "1 of 1 golden prompts failed; 'Capital of France?' was answered 'banana'",
        ),
        (verdict("v2", error="HTTP 500."), {"goldenPrompts": GOLDEN}, False, "it could not be measured: HTTP 500"),
        (verdict("v2", stage_digests=(V2, V1)), {}, False, f"stage 1 loaded other weights than {V2[:19]}"),
        (verdict("v2", stage_digests=()), {}, True, "answer"),
        (verdict("v2", mean_logprob=-3.9), {}, True, "-3.90"),
        (verdict("v2", mean_logprob=-4.1), {}, False, "0.60 below the -3.50"),
        (verdict("v2", mean_logprob=-4.1), {"maxLogprobDrop": 1}, True, "-4.10"),
        (verdict("v2", mean_logprob=None), {}, True, "answer"),
        (verdict("v2", mean_logprob=-9.0), {"qualityTexts": ["other texts"]}, True, "-9.00"),
    ],
)  # fmt: skip
def test_a_verdict(*, measured: Measurement | None, asked: dict[str, Any], passed: bool | None, words: str) -> None:
    found = judge(unit_with(measured), serve_of("v2"), bench(**asked))
    assert found.passed is passed, found
    assert words in found.message


def test_the_baseline_is_that_of_the_same_weights_where_there_is_one() -> None:
    measured = unit_with(verdict("v2", mean_logprob=-5.0))
    assert judge(measured, serve_of("v2"), bench(baselines={V1: -3.5})).passed is False
    assert judge(measured, serve_of("v2"), bench(baselines={V1: -3.5, V2: -4.8})).passed is True
    assert judge(measured, serve_of("v2"), bench(baselines={V1: -5.0, V2: -3.5})).passed is False
    assert judge(measured, serve_of("v2"), bench(baselines={})).passed is True


@pytest.mark.parametrize(
    ("others", "passed"),
    [
        ((), True),
        (((V2, "answer-v2"),), True),
        (((V2, "else"),), False),  # of two that differ the newer is wrong
        (((V2, "else"), (V2, "answer-v2")), True),  # in the majority
        (((V2, "answer-v2"), (V2, "else")), True),
        (((V2, "else"), (V2, "else")), False),
        (((V1, "else"), (V1, "else")), True),  # of other weights
        (((V2, ""),), True),
    ],
)
def test_groups_on_the_same_weights_must_agree(others: tuple[tuple[str, str], ...], passed: bool) -> None:
    measured = unit_with(verdict("v2"))
    found = judge(measured, serve_of("v2"), bench(answers=others))
    assert found.passed is passed
    assert judge(measured, serve_of("v2"), bench(answers=others, agreement=False)).passed is True
    if not passed:
        assert "differs from the else of" in found.message


def test_the_most_frequent_answer_is_right_and_of_equal_ones_the_first() -> None:
    assert right_answer(["a"]) == "a"
    assert right_answer(["b", "a"]) == "b"
    assert right_answer(["b", "a", "a"]) == "a"


def test_the_first_measure_of_weights_stays_and_old_ones_are_forgotten() -> None:
    first = with_baselines((), [verdict("v1")], VerifySpec())
    assert with_baselines(first, [verdict("v1", mean_logprob=-9.0)], VerifySpec()) == first
    assert len(with_baselines(first, [verdict("v1")], VerifySpec(quality_texts=("another text",)))) == 2
    many = with_baselines(first, [verdict(f"v{number}") for number in range(2, 9)], VerifySpec())
    assert [one.digest for one in many] == [digest_of(f"v{number}") for number in range(5, 9)]
    assert len(many) == REMEMBERED


def test_what_stands_in_the_status() -> None:
    measured = verdict("v2", golden=(PASSED, FAILED))
    unit = unit_with(measured)
    shown = group_verdict(measured, judge(unit, serve_of("v2"), bench(goldenPrompts=GOLDEN * 2)), VerifySpec())
    assert (shown.golden, shown.passed, shown.mean_logprob) == ("1/2", False, -3.5)


CITY = '{"type": "object", "properties": {"city": {"type": "string"}}}'
WEATHER = {
    "prompt": "Weather in Paris?",
    "tools": [{"name": "get_weather", "parameters": CITY}],
    "expectCall": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
NO_CALL = GoldenResult(
    prompt="Weather in Paris?",
    passed=False,
    answer="Sunny",
    problem='expected a call of get_weather with {"city": "Paris"}, got text "Sunny"',
)
CALLED = GoldenResult(
    prompt="Weather in Paris?", passed=True, answer="", call="get_weather", arguments='{"city": "Paris"}'
)


def key_of(**asked: Any) -> str:
    return VerifySpec.model_validate(asked).message().key


@pytest.mark.parametrize(
    ("golden", "passed", "words"),
    [
        ((CALLED,), True, "1 of 1 golden prompts passed"),
        (
            (NO_CALL,),
            False,
            'group 0 does not pass on v2@1a3ad0: golden prompt "Weather in Paris?" expected a call of get_weather with'
            ' {"city": "Paris"}, got text "Sunny"',
        ),
        ((NO_CALL, CALLED, NO_CALL), False, 'got text "Sunny"; 2 of 3 golden prompts failed'),
    ],
)
def test_a_golden_call(*, golden: tuple[GoldenResult, ...], passed: bool, words: str) -> None:
    asked: dict[str, Any] = {"goldenPrompts": [WEATHER] * len(golden)}
    measured = verdict("v2", golden=golden, checks=key_of(**asked))
    found = judge(unit_with(measured), serve_of("v2"), bench(**asked))
    assert found.passed is passed
    assert words.partition(": ")[2] in found.message
    assert found.reason is (Reason.SERVING if passed else Reason.VERIFY_FAILED)


def test_the_same_prompts_with_other_expectations_are_not_the_answer() -> None:
    measured = verdict("v2", golden=(PASSED,), checks=key_of(goldenPrompts=GOLDEN))
    assert judge(unit_with(measured), serve_of("v2"), bench(goldenPrompts=GOLDEN)).passed is True
    other = [{"prompt": "Capital of France?", "expect": "Lyon"}]
    found = judge(unit_with(measured), serve_of("v2"), bench(goldenPrompts=other))
    assert (found.passed, found.reason) == (None, Reason.VERIFYING)


@pytest.mark.parametrize("prompt", [WEATHER, {"prompt": "Weather in Paris?", "schema": CITY}])
def test_a_cell_that_cannot_be_asked_for_tools_or_a_schema_does_not_pass(prompt: dict[str, Any]) -> None:
    """It has no ``checks``, and may have answered the same prompt without tools before."""
    before = GoldenResult(prompt="Weather in Paris?", passed=True, answer="Sunny")
    found = judge(unit_with(verdict("v2", golden=(before,))), serve_of("v2"), bench(goldenPrompts=[prompt]))
    assert (found.passed, found.reason) == (False, Reason.SERVING_IMAGE_TOO_OLD)
    assert found.message.endswith("its serving image is older than tools and schema in spec.verify.goldenPrompts")


def by_text(**means: float) -> dict[str, Any]:
    """Fields of a measurement of texts of 100 tokens in these languages."""
    texts = tuple(TextQuality(language=name, mean_logprob=mean, tokens=100) for name, mean in means.items())
    return {"texts": "new", "by_text": texts, "mean_logprob": sum(means.values()) / len(means)}


def compared(before: dict[str, Any], after: dict[str, Any], **asked: Any) -> Any:
    """The verdict on v2, where v1 was verified before."""
    spec = VerifySpec.model_validate(asked)
    known = with_baselines((), [verdict("v1", **before)], spec)
    return judge(unit_with(verdict("v2", **after)), serve_of("v2"), Criteria(spec, known, V1))


def test_the_language_that_got_worse_is_named_though_the_mean_is_good() -> None:
    before, after = by_text(English=-2.0, German=-2.5, Thai=-3.1), by_text(English=-2.0, German=-2.5, Thai=-4.3)
    found = compared(before, after)
    assert before["mean_logprob"] - after["mean_logprob"] < 0.5
    assert found.passed is False
    assert found.message.endswith(
        f"Thai fell by 1.20 nats per token, from -3.10 of {V1[:19]} to -4.30; 0.5 are allowed"
        " (spec.verify.maxLogprobDrop)"
    )
    assert compared(before, after, maxLogprobDrop=1.3).passed is True


def test_all_languages_that_got_worse_are_named_the_worst_first() -> None:
    before = by_text(English=-2.0, Hindi=-2.0, Thai=-2.0)
    found = compared(before, by_text(English=-2.6, Hindi=-4.0, Thai=-2.7))
    assert "Hindi fell by 2.00 nats per token" in found.message
    assert found.message.endswith("(spec.verify.maxLogprobDrop); Thai by 0.70, English by 0.60 too")


def test_a_language_may_get_better() -> None:
    assert compared(by_text(English=-2.0, Thai=-4.0), by_text(English=-2.4, Thai=-1.0)).passed is True


def test_texts_of_the_user_have_their_names() -> None:
    asked = {"qualityTexts": ["one", "two"], "namedQualityTexts": [{"name": "contracts", "text": "three"}]}

    def mine(*means: float) -> dict[str, Any]:
        texts = tuple(TextQuality(mean_logprob=mean, tokens=9) for mean in means)
        return {"texts": texts_hash(["one", "two", "three"]), "by_text": texts, "mean_logprob": sum(means) / 3}

    found = compared(mine(-1.0, -1.0, -1.0), mine(-1.0, -2.0, -3.0), **asked)
    assert "contracts fell by 2.00" in found.message
    assert found.message.endswith("quality text 2 by 1.00 too")


def test_measurements_of_other_texts_are_never_compared_and_it_is_said() -> None:
    before, after = by_text(English=-2.0), by_text(English=-9.0) | {"texts": "newer"}
    found = compared(before, after)
    assert found.passed is True
    assert found.message.endswith(f"; not compared with {V1[:19]}, which was measured with other quality texts")
    assert "not compared" not in compared(before, by_text(English=-2.0)).message


def test_an_older_cell_is_compared_with_older_cells_only() -> None:
    older, worse = {"mean_logprob": -2.0}, {"mean_logprob": -3.0}
    assert compared(older, worse).passed is False
    assert compared(older, by_text(English=-9.0)).passed is True
    assert compared(by_text(English=-2.0), worse).passed is True
    mine = {"qualityTexts": ["mine"]}
    text = (TextQuality(mean_logprob=-9.0, tokens=5),)
    newer = {"texts": texts_hash(["mine"]), "by_text": text, "mean_logprob": -9.0}
    assert compared(older, newer, **mine).passed is False, "the user's own texts are the same for both"


def test_another_tokenizer_is_compared_by_whole_texts() -> None:
    """Half as many tokens, each half as likely in nats: the text as a whole is as likely as before."""
    before = by_text(English=-2.0)
    half = {"texts": "new", "by_text": (TextQuality(language="English", mean_logprob=-4.0, tokens=50),)}
    assert compared(before, half | {"mean_logprob": -4.0}).passed is True
    worse = {"texts": "new", "by_text": (TextQuality(language="English", mean_logprob=-5.2, tokens=50),)}
    assert "fell by 0.60 nats per token, from -2.00" in compared(before, worse | {"mean_logprob": -5.2}).message


def test_each_text_is_in_the_baseline_and_in_the_status() -> None:
    measured = verdict("v2", **by_text(English=-2.0, Thai=-3.125))
    (known,) = with_baselines((), [measured], VerifySpec())
    assert known.by_text == (
        TextBaseline(mean_logprob=-2.0, tokens=100),
        TextBaseline(mean_logprob=-3.125, tokens=100),
    )
    shown = group_verdict(measured, judge(unit_with(measured), serve_of("v2"), bench()), VerifySpec())
    assert shown.quality == "English -2.00, Thai -3.12"


means = st.lists(st.floats(min_value=-20, max_value=-0.01), min_size=1, max_size=8)


@given(means, st.data())
def test_a_group_passes_where_no_text_fell_by_more_than_is_allowed(before: list[float], data: st.DataObject) -> None:
    after = data.draw(st.lists(st.floats(-20, -0.01), min_size=len(before), max_size=len(before)))
    texts = ({f"text{k}": mean for k, mean in enumerate(these)} for these in (before, after))
    found = compared(*(by_text(**one) for one in texts))
    drops = [was - now for was, now in zip(before, after, strict=True)]
    if abs(max(drops) - 0.5) > 1e-6:
        assert found.passed is (max(drops) <= 0.5)
    if not found.passed:
        assert f"text{drops.index(max(drops))} fell by" in found.message or drops.count(max(drops)) > 1

"""The judgement of a verdict: who may get requests, and who is wrong when two groups differ."""

from typing import Any

import pytest

from llama_operator.api.v1alpha1.status import Baseline
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.verdicts import group_verdict
from llama_operator.plan.groups.verification import REMEMBERED, Criteria, judge, right_answer, with_baselines
from llama_serving.config.desired import GoldenResult, Measurement
from tests.fakes.models import digest_of
from tests.unit.operator.worlds import cell, group, heard, serve_of, state_of, verdict, world

NO_TEXTS = short_hash([])
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
    shown = group_verdict(measured, judge(unit, serve_of("v2"), bench(goldenPrompts=GOLDEN * 2)))
    assert (shown.golden, shown.passed, shown.mean_logprob) == ("1/2", False, -3.5)

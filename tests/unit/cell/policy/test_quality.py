"""The mean log-probability of texts, and which measurements are of the same texts."""

from typing import Any

import pytest

from llama_serving.cell.policy.quality import NotMeasuredError, mean_of, measured_texts, text_quality
from llama_serving.config.desired import TextQuality, texts_hash


def token(value: float) -> dict[str, dict[str, float]]:
    return {"5": {"logprob": value}}


def test_the_mean_is_over_tokens_not_over_texts() -> None:
    texts = [text_quality([None, token(-1.0)], "English"), text_quality([None, token(-4.0), token(-4.0)])]
    assert texts == [
        TextQuality(language="English", mean_logprob=-1.0, tokens=1),
        TextQuality(mean_logprob=-4.0, tokens=2),
    ]
    assert mean_of(texts) == -3.0


@pytest.mark.parametrize("tokens", [[], [None], [None, token(float("nan"))], [None, token(float("-inf"))]])
def test_no_mean_without_numbers(tokens: Any) -> None:
    with pytest.raises(NotMeasuredError):
        text_quality(tokens)


@pytest.mark.parametrize(
    ("longest", "limit", "name"), [(10, 511, ""), (510, 511, ""), (511, 511, "-511"), (400, 400, "-400")]
)
def test_a_text_that_was_cut_is_another_text(longest: int, limit: int, name: str) -> None:
    assert measured_texts(["a", "b"], longest=longest, limit=limit) == texts_hash(["a", "b"]) + name


def test_the_hash_is_that_of_these_texts_in_this_order() -> None:
    assert texts_hash([]) == "4f53cda1"
    assert len({texts_hash(texts) for texts in ([], ["a"], ["b"], ["a", "b"], ["b", "a"], ["ab"], ["ä"])}) == 7

"""What a request asks for, seen from the bytes of its body."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.gateway.routing.token_estimate import (
    BYTES_PER_TOKEN,
    DEFAULT_OF_TEXT,
    EDGE,
    MOST,
    TokenEstimate,
    estimate,
)

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BATCH = "/v1/chat/completions/batch"


def answer(path: str = CHAT, /, **fields: Any) -> int | None:
    return estimate(path, json.dumps(fields).encode()).answer_tokens


@pytest.mark.parametrize(
    ("path", "fields", "tokens"),
    [
        (CHAT, {}, None),
        (CHAT, {"max_tokens": 7}, 7),
        (CHAT, {"max_tokens": 7, "max_completion_tokens": 9}, 9),
        (CHAT, {"max_tokens": None}, None),
        (CHAT, {"max_tokens": "7"}, None),
        (CHAT, {"max_tokens": 7, "n": 3}, 21),
        (CHAT, {"n": 3}, None),
        (CHAT, {"max_tokens": 10**8}, MOST),
        (CHAT, {"max_tokens": MOST, "n": 10**8}, MOST),
        (CHAT, {"messages": [{"role": "user", "content": "max_tokens"}], "max_tokens": 5}, 5),
        (CHAT, {"messages": [{"role": "user", "content": '"max_tokens": 99'}], "max_tokens": 5}, 5),
        (CHAT, {"tools": [{"parameters": {"max_tokens": {"type": "integer"}}}], "max_tokens": 5}, 5),
        (TEXT, {}, DEFAULT_OF_TEXT),
        (TEXT, {"n": 2}, 2 * DEFAULT_OF_TEXT),
        (TEXT, {"max_tokens": 40}, 40),
        ("/v1/responses", {"max_output_tokens": 6}, 6),
        ("/v1/embeddings", {"max_tokens": 6}, 0),
        ("/generative_scoring", {"query": "Hi", "items": ["a", "b"], "label_token_ids": [1]}, 0),
        (BATCH, {"max_tokens": 6, "messages": [[{"content": "a"}], [{"content": "b"}, {"content": "c"}]]}, 12),
        (BATCH, {"messages": [[{"content": "a"}], [{"content": "b"}]]}, None),
        (BATCH, {"max_tokens": MOST, "messages": [[{}]] * 3}, MOST),
    ],
)
def test_tokens_of_the_answer(path: str, fields: dict[str, Any], tokens: int | None) -> None:
    assert answer(path, **fields) == tokens


@pytest.mark.parametrize("spaces", ["", " ", "\n  "])
def test_any_spelling_of_json(spaces: str) -> None:
    assert estimate(CHAT, f'{{"max_tokens"{spaces}:{spaces}12{spaces}}}'.encode()).answer_tokens == 12


def test_tokens_of_a_prompt_of_text_are_a_quarter_of_its_bytes() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "word " * 400}]}).encode()
    assert estimate(CHAT, body).prompt_tokens == len(body) // BYTES_PER_TOKEN
    assert 500 < estimate(CHAT, body).prompt_tokens < 520


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 200_000), min_size=1, max_size=50), indent=st.sampled_from([None, 1]))
def test_token_ids_are_counted(ids: list[int], indent: int | None) -> None:
    body = json.dumps({"model": "m", "prompt": ids, "stop_token_ids": [1, 2, 3]}, indent=indent).encode()
    assert estimate(TEXT, body).prompt_tokens == len(ids)


@pytest.mark.parametrize("prompt", [["a, b", "c"], [[1, 2], [3]], [], "1, 2, 3", None])
def test_other_prompts_are_estimated(prompt: object) -> None:
    body = json.dumps({"prompt": prompt}).encode()
    assert estimate(TEXT, body).prompt_tokens == len(body) // BYTES_PER_TOKEN


def test_numbers_are_seen_before_and_behind_what_is_long() -> None:
    long = "x" * (8 * MOST)
    for fields in ({"max_tokens": 5, "messages": long}, {"messages": long, "n": 1, "max_tokens": 5}):
        assert estimate(CHAT, json.dumps(fields).encode()) == TokenEstimate(MOST, 5)
    hidden = json.dumps({"messages": "x" * EDGE, "max_tokens": 5, "tools": "x" * EDGE}).encode()
    assert estimate(CHAT, hidden) == TokenEstimate(len(hidden) // BYTES_PER_TOKEN, None)
    assert estimate("/v1/embeddings", json.dumps({"input": long}).encode()) == TokenEstimate(MOST, 0)


def test_more_token_ids_than_a_context_has_are_cut() -> None:
    assert estimate(TEXT, json.dumps({"prompt": [7] * 4 * MOST}).encode()).prompt_tokens == MOST


@settings(deadline=None)
@given(body=st.binary(max_size=300) | st.text('[]{}:,"n0123456789 maxtokenpr_', max_size=200).map(str.encode))
def test_anything_may_be_in_a_body(body: bytes) -> None:
    for path in (CHAT, TEXT, "/v1/embeddings"):
        asks = estimate(path, body)
        assert 0 <= asks.prompt_tokens <= MOST
        assert asks.answer_tokens is None or 0 <= asks.answer_tokens <= MOST


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/messages/count_tokens"])
def test_counting_tokens_costs_none(path: str) -> None:
    assert estimate(path, json.dumps({"prompt": "word " * 400, "max_tokens": 9}).encode()) == TokenEstimate(0, 0)

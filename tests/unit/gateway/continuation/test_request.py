"""Which requests can be continued, and what another engine is asked then."""

import json
from typing import Any

import pytest

from llama_serving.gateway.continuation.pure.request import (
    CHAT,
    NEUTRAL,
    PASSED,
    REPLAYED,
    TEXT,
    ContinuableRequest,
    NotContinuableError,
    next_body,
    wants_other_stream,
    with_token_ids,
)
from llama_serving.gateway.continuation.pure.request import read as read_request
from llama_serving.gateway.fields.request_fields import MAX_PARSED, MOST_BYTES, SHORT, RequestFields, read_fields
from llama_serving.gateway.fields.scanner import TooComplexError

MESSAGES = [{"role": "user", "content": "Hi"}]


def fields_of(body: bytes) -> RequestFields | None:
    try:
        return read_fields(body)
    except TooComplexError:
        return None


def read(path: str, body: bytes) -> ContinuableRequest | None:
    return read_request(path, fields_of(body))


def asked(path: str = CHAT, /, **more: Any) -> ContinuableRequest:
    prompt = {"messages": MESSAGES} if path == CHAT else {"prompt": "Hi"}
    found = read(path, json.dumps({"stream": True, **prompt, **more}).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, b"{}"),
        (CHAT, b'{"stream": false}'),
        (CHAT, b'{"stream": 1}'),
        (CHAT, b'{"stream": true'),
        (CHAT, b'["stream"]'),
        (CHAT, b"[" * 100_000 + b'"stream"'),
        (CHAT, '{"stream": true}'.encode("utf-16")),
        (CHAT, b'{"stream": true, "messages": "\xff"}'),
        (CHAT, b'{"stream": true, "x": "' + b" " * MAX_PARSED + b'"}'),
        ("/v1/embeddings", b'{"stream": true}'),
        ("/v1/chat/completions/", b'{"stream": true}'),
    ],
)
def test_what_is_no_stream_of_ours_is_left_alone(path: str, body: bytes) -> None:
    assert read(path, body) is None


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"n": 2}, "'n' is not 1"),
        ({"best_of": 3}, "'best_of' is not 1"),
        ({"prompt_logprobs": 0}, "the request has the field 'prompt_logprobs'"),
        ({"thinking_token_budget": 5}, "the request has the field 'thinking_token_budget'"),
        ({"vllm_xargs": {"a": 1}}, "the request has the field 'vllm_xargs'"),
        ({"include_reasoning": False}, "'include_reasoning' is not true"),
        ({"echo": True}, "'echo' is not false"),
        ({"use_beam_search": True}, "'use_beam_search' is not false"),
        ({"prompt": ["a", "b"]}, "'prompt' is a list of prompts"),
        ({"prompt": [[1, 2]]}, "'prompt' is a list of prompts"),
        ({"messages": [{"content": [{"type": "image_url"}]}]}, "parts that are not text"),
        ({"stop": 7}, "'stop' is not text"),
        ({"max_tokens": "7"}, "a token limit is not a number"),
        ({"min_tokens": -1}, "a token limit is not a number"),
        ({"stream_options": []}, "a token limit is not a number"),
        ({"invented_later": False}, "the request has the field 'invented_later'"),
    ],
)
def test_what_cannot_be_continued_is_named(more: dict[str, Any], why: str) -> None:
    with pytest.raises(NotContinuableError) as raised:
        asked(**more)
    assert why in str(raised.value)


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize(
    "more",
    [
        {"logprobs": True},
        {"logprobs": 0},
        {"top_logprobs": 1},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "auto"},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a"}},
        {"guided_json": {}},
        {"spaces_between_special_tokens": False},
    ],
)
def test_what_is_continued_by_a_replay(path: str, more: dict[str, Any]) -> None:
    shaping = {"request_id": "r", "add_special_tokens": False, "truncate_prompt_tokens": 5, "n": 1, "seed": None}
    found = asked(path, **more, **shaping, temperature=0, parallel_tool_calls=False, max_tokens=9)
    assert found.replayed
    assert found.path == path
    want = {**more, "temperature": 0, "parallel_tool_calls": False, "max_tokens": 9}
    assert json.loads(found.kept) == {**want, "stream": True, "return_token_ids": True}


@pytest.mark.parametrize("name", REPLAYED)
def test_values_that_ask_for_no_more_than_text_need_no_replay(name: str) -> None:
    assert not asked(**{name: REPLAYED[name]}).replayed
    assert not asked(**{name: None}).replayed


def test_only_chats_and_replays_keep_the_request() -> None:
    """Any chat may meet an engine whose parser finds reasoning; a text has no parser."""
    assert asked(TEXT, stop=["a"]).kept == b""
    assert json.loads(asked(CHAT, stop=["a"]).kept) == {"stop": ["a"], "stream": True, "return_token_ids": True}


@pytest.mark.parametrize("name", NEUTRAL)
def test_values_that_ask_for_nothing_are_no_hindrance(name: str) -> None:
    assert asked(**{name: NEUTRAL[name]}) == asked(**{name: None}) == asked()


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "7"}]},
        {"chat_template_kwargs": {"a": 1}, "add_generation_prompt": False, "user": "me", "metadata": {}},
        {"prompt": [1, 2, 3]},
    ],
)
def test_what_only_shapes_the_prompt_is_no_hindrance(more: dict[str, Any]) -> None:
    assert asked(**more).params == {}


@pytest.mark.parametrize(
    ("stop", "include", "held_back"),
    [
        (None, False, 0),
        ([], False, 0),
        ("", False, 0),
        ("x", False, 0),
        ("ab\n", False, 2),
        (["a", "🙂🙂🙂"], False, 2),
        (["abc"], True, 0),
    ],
)
def test_characters_held_back_for_stop_strings(stop: object, include: bool, held_back: int) -> None:
    assert asked(stop=stop, include_stop_str_in_output=include).held_back == held_back


@pytest.mark.parametrize(
    ("path", "more", "limit"),
    [
        (CHAT, {}, None),
        (CHAT, {"max_tokens": 9}, 9),
        (CHAT, {"max_tokens": 9, "max_completion_tokens": 7}, 7),
        (CHAT, {"max_tokens": 9, "max_completion_tokens": None}, 9),
        (TEXT, {}, 16),
        (TEXT, {"max_tokens": None}, 16),
        (TEXT, {"max_tokens": 9}, 9),
    ],
)
def test_the_limit_of_tokens(path: str, more: dict[str, Any], limit: int | None) -> None:
    assert asked(path, **more).max_tokens == limit


def test_the_rest_of_an_answer() -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x"], "presence_penalty": 0.1, "model": "m"}
    found = asked(max_tokens=20, min_tokens=4, stream_options={"include_usage": True}, user="me", **sampling)
    assert sampling.keys() <= PASSED
    assert json.loads(next_body(found, prompt=(1, 2), ids=[3, 4, 5], context_length=0)) == {
        **sampling,
        "prompt": [1, 2, 3, 4, 5],
        "max_tokens": 17,
        "min_tokens": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }


def test_the_rest_of_an_answer_without_a_limit() -> None:
    found = json.loads(next_body(asked(), prompt=(1, 2), ids=[3], context_length=512))
    assert (found["max_tokens"], found["min_tokens"], "stream_options" in found) == (512, 0, False)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"stream":true}', b'{"stream":true,"return_token_ids":true}'),
        (b'{"stream":true}\n ', b'{"stream":true,"return_token_ids":true}'),
        (
            b'{"return_token_ids":false,"stream":true}',
            b'{"return_token_ids":false,"stream":true,"return_token_ids":true}',
        ),
        (b'{"return_token_ids":true,"stream":true}', b'{"return_token_ids":true,"stream":true}'),
    ],
)
def test_token_ids_are_asked_for(body: bytes, changed: bytes) -> None:
    found = read(CHAT, body)
    assert found is not None
    assert with_token_ids(body, found) == changed
    assert json.loads(changed)["return_token_ids"] is True


@pytest.mark.parametrize(
    ("path", "body", "asks"),
    [
        ("/v1/responses", b'{"stream": true, "input": "x"}', True),
        ("/v1/responses", b'{"stream": false, "metadata": {"stream": true}}', False),
        ("/v1/responses", b'{"input": "\\"stream\\": true"}', False),
        ("/v1/responses", b'["stream", true]', False),
        ("/v1/responses", b'{"stream": true', False),
        ("/v1/messages", b'{"stream": true}', False),
        ("/v1/embeddings", b'{"stream": true}', False),
    ],
)
def test_which_other_requests_ask_for_a_stream(path: str, body: bytes, *, asks: bool) -> None:
    assert wants_other_stream(path, fields_of(body)) is asks


LONG = "x" * SHORT
TYPED = {"role": "user", "content": [{"type": "text", "text": LONG}]}


@pytest.mark.parametrize(
    ("path", "more", "why"),
    [
        (CHAT, {"messages": [TYPED]}, ""),
        (CHAT, {"messages": [{"role": "user", "content": 'a "type": "image_url" ' + LONG}]}, ""),
        (CHAT, {"messages": [TYPED, {"role": "assistant", "tool_calls": [{"type": "function"}]}]}, ""),
        (CHAT, {"messages": [TYPED, {"role": "user", "content": [{"type": "image_url"}]}]}, "parts that are not text"),
        (CHAT, {"messages": [{"content": [{"type": "text", "text": "a"}] * 5000}]}, "parts that are not text"),
        (TEXT, {"prompt": LONG}, ""),
        (TEXT, {"prompt": [1000] * SHORT}, ""),
        (TEXT, {"prompt": [LONG]}, "'prompt' is a list of prompts"),
        (TEXT, {"prompt": [[1000] * SHORT]}, "'prompt' is a list of prompts"),
        (TEXT, {"prompt": None, "user": LONG}, ""),
        (TEXT, {"prompt": LONG, "n": 2}, "'n' is not 1"),
        (TEXT, {"prompt": LONG, "n": 1, "stop": "ab"}, ""),
        (TEXT, {"prompt": LONG, "bad_words": [[]] * 40_000}, "elements"),
        (TEXT, {"prompt": "", "user": "x" * MOST_BYTES}, "bytes"),
    ],
)
def test_a_long_request_is_judged_without_parsing_its_prompt(path: str, more: dict[str, Any], why: str) -> None:
    body = json.dumps({"stream": True, **more}).encode()
    assert len(body) > SHORT
    if not why:
        assert read(path, body) is not None
        return
    with pytest.raises(NotContinuableError, match=why):
        read(path, body)


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_long_request_is_read_as_a_short_one(path: str) -> None:
    more = {"stop": ["abc"], "max_tokens": 7, "seed": 3, "logit_bias": {"5": -100}, "stream_options": {"a": 1}}
    name = "messages" if path == CHAT else "prompt"
    short, long = ({"stream": True, **more, name: text} for text in ("x", LONG))
    assert read(path, json.dumps(long).encode()) == read(path, json.dumps(short).encode())


def test_what_is_kept_of_a_request_has_as_many_bytes_as_it_says() -> None:
    words: list[list[int]] = [[]] * 5000
    found = asked(bad_words=words)
    assert isinstance(found.asked, bytes)
    assert len(found.asked) < 3 * len(words) + 200
    assert found.params == {"bad_words": words}

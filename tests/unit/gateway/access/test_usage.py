"""What an answer used, however it is cut into pieces; and what of it the client did not ask for."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.access.pure.asking import asks_for_stream, with_usage
from llama_serving.gateway.access.pure.usage import Meter, Usage, is_usage_event
from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.request import CHAT, TEXT
from llama_serving.gateway.fields.request_fields import read_fields

TOLD = {"prompt_tokens": 12, "total_tokens": 19, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}
WORDS = [b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"w"}}]}\n\n'] * 3
COUNT = b'data: {"id":"1","choices":[],"usage":' + json.dumps(TOLD, separators=(",", ":")).encode() + b"}\n\n"
DONE = b"data: [DONE]\n\n"
STREAM = b"".join([*WORDS, COUNT, DONE])


def cut(text: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(text), *(place % len(text) for place in places)})
    return [text[start:end] for start, end in itertools.pairwise(at)]


def metered(pieces: list[bytes], *, hides: bool) -> tuple[bytes, Usage | None]:
    meter = Meter()
    meter.hides = hides
    sent = [meter.take(piece) for piece in pieces]
    return b"".join([*sent, meter.rest()]), meter.usage()


@given(st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_a_stream_is_counted_in_any_pieces_and_only_its_count_is_taken_out(places: list[int], hides: bool) -> None:
    sent, usage = metered(cut(STREAM, places), hides=hides)
    assert usage == Usage(12, 5, 7)
    assert sent == (STREAM.replace(COUNT, b"") if hides else STREAM)


@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_an_answer_in_one_is_counted_in_any_pieces(places: list[int]) -> None:
    body = json.dumps({"choices": [{"message": {"content": '"usage":{"prompt_tokens":9}'}}], "usage": TOLD}).encode()
    sent, usage = metered(cut(body, places), hides=False)
    assert (sent, usage) == (body, Usage(12, 5, 7))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_whatever_an_engine_sends_nothing_is_lost(text: bytes, places: list[int]) -> None:
    sent, _ = metered(cut(text, places) if text else [], hides=True)
    assert sent == text


def test_the_last_count_is_the_answers_own() -> None:
    """/v1/responses repeats what the client sent: objects that look like a count."""
    body = {"metadata": {"usage": {"input_tokens": 0}}, "usage": {"input_tokens": 8, "output_tokens": 3}, "user": None}
    assert metered([json.dumps(body).encode()], hides=False)[1] == Usage(8, 0, 3)


@pytest.mark.parametrize("text", [b'"usage":null', b'"usage":{"prompt_tokens":"9"}', b'"usage":{', b'"usage":{"prompt'])
def test_what_is_no_count_is_none(text: bytes) -> None:
    assert metered([text], hides=False)[1] in (None, Usage())


def test_an_event_with_words_is_not_hidden_because_it_counts_too() -> None:
    words = COUNT.replace(b'"choices":[]', b'"choices":[{"index":0,"delta":{"content":"w"}}]')
    assert is_usage_event(COUNT)
    assert not is_usage_event(words)
    assert metered([words, DONE], hides=True) == (words + DONE, Usage(12, 5, 7))


@pytest.mark.parametrize(
    ("given_options", "asked", "missing"),
    [
        (None, {"include_usage": True}, True),
        ({"include_usage": False}, {"include_usage": True}, True),
        ({"include_usage": True}, {"include_usage": True}, False),
        ({"continuous_usage_stats": False}, {"continuous_usage_stats": False, "include_usage": True}, True),
    ],
)
def test_an_engine_is_asked_for_the_count(
    given_options: dict[str, bool] | None, asked: dict[str, bool], missing: bool
) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    body = json.dumps(fields if given_options is None else {**fields, "stream_options": given_options}).encode()
    continuable = continuation.read(CHAT, read_fields(body))
    assert continuable is not None
    asking, continuable, is_missing = with_usage(body, continuable)
    assert (json.loads(asking)["stream_options"], is_missing) == (asked, missing)
    assert continuable is not None
    assert continuable.stream_options == asked
    assert json.loads(continuable.kept)["stream_options"] == asked


def test_options_in_another_place_of_the_body_do_not_keep_the_engine_from_being_asked() -> None:
    body = (
        b'{"stream":true,"stream_options":{"include_usage":false},"metadata":{"stream_options":{"include_usage":true}}}'
    )
    assert json.loads(with_usage(body, None)[0])["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"prompt":"long","model":"m","stream":true}', True),
        (b'{"prompt":"long","stream": true, "stream_options":{"include_usage":true}, "temperature":0.5}', True),
        (b'{"prompt":"long","stream":false}', False),
        (b'{"prompt":"long,\\"stream\\":true}"}', False),
        (b'{"prompt":"long","metadata":{"a":"b","stream":true}}', False),
        (b'{"prompt":"long","tools":[{"a":"b","stream":true}]}', False),
    ],
)
def test_a_long_body_asks_for_a_stream_by_the_fields_at_its_end(body: bytes, asks: bool) -> None:
    assert asks_for_stream(TEXT, body) is asks

"""The model that a body names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.adapters import requested_model as adapters
from llama_serving.gateway.adapters.requested_model import SeveralModelsError, model_of_unread
from llama_serving.gateway.fields.request_fields import MAX_PARSED, MOST_BYTES, SHORT, read_fields
from llama_serving.gateway.fields.scanner import TooComplexError

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just('"model": "x"'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("model"), inner),
    max_leaves=8,
)
PADDING = " " * MAX_PARSED


def requested_model(body: bytes) -> str | None:
    try:
        return adapters.requested_model(read_fields(body))
    except TooComplexError:
        return model_of_unread(body)


@given(st.dictionaries(st.text(max_size=6) | st.just("model"), VALUES, max_size=4), st.booleans())
def test_it_is_the_field_of_the_outermost_object(fields: dict[str, object], escaped: bool) -> None:
    model = fields.get("model")
    body = json.dumps(fields, ensure_ascii=escaped).encode()
    want = model if isinstance(model, str) else None
    assert requested_model(body) == want
    assert requested_model(body + b" " * SHORT) == want


@pytest.mark.parametrize("body", [b"", b"[]", b'"model"', b"{", b"[" * 100_000, b'{"model": 3}', b"\xff model"])
def test_what_is_no_request_names_none(body: bytes) -> None:
    assert requested_model(body) is None


def test_an_escaped_name_of_the_field_is_read() -> None:
    assert requested_model(rb'{"mod\u0065l": "style"}') == "style"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ('{"model": "style", "input": "%s"}', "style"),
        ('{"input": "%s", "model" : "st\\u0079le"}', "style"),
        ('{"input": "\\"model\\": \\"x\\" %s"}', None),
        ('{"input": "%s"}', None),
    ],
)
def test_in_a_long_body_the_only_field_counts(text: str, model: str | None) -> None:
    assert requested_model((text % PADDING).encode()) == model


def test_a_long_body_with_several_is_not_guessed_at() -> None:
    with pytest.raises(SeveralModelsError):
        requested_model((f'{{"meta": {{"model": "a"}}, "model": "b", "input": "{PADDING}"}}').encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "%b"}' % (b"x" * MOST_BYTES),
        b'{"model" : "a", "x": [%b]}' % (b'"model":"b",' * 40_000),
        b'{"x": [%b]}' % (b'"model",' * 100_000),
    ],
    ids=["long name", "too many parts", "too many words"],
)
def test_a_body_that_cannot_be_told_is_not_guessed_at(body: bytes) -> None:
    with pytest.raises(SeveralModelsError):
        requested_model(body)

"""Requests to the Responses API that need a store."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.fields.request_fields import MAX_PARSED, SHORT, read_fields
from llama_serving.gateway.fields.scanner import TooComplexError
from llama_serving.gateway.http import stateful_responses
from llama_serving.gateway.http.stateful_responses import RefusedField

ASKED = {"model": "llama", "input": "Hi"}


def refused(body: bytes) -> RefusedField | None:
    try:
        return stateful_responses.refused(read_fields(body))
    except TooComplexError:
        return None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({}, None),
        ({"store": False}, None),
        ({"store": None, "background": False, "previous_response_id": None}, None),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"background": True, "store": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": 'a text with "store": true and "previous_response_id"'}, None),
        ({"metadata": {"store": True}}, None),
    ],
)
def test_what_needs_a_store_is_refused(more: dict[str, Any], field: str | None) -> None:
    found = refused(json.dumps({**ASKED, **more}).encode())
    assert (None if found is None else found.field) == field
    if found is not None:
        assert f"'{field}'" in found.message
    long = refused(json.dumps({**ASKED, **more, "instructions": "x" * SHORT}).encode())
    assert long == found


@pytest.mark.parametrize("body", [b"", b"{", b'"store"', b'["store"]', b"\xff\xfe", b'{"store": ' + b"[" * 100_000])
def test_what_is_no_request_goes_to_the_engine(body: bytes) -> None:
    assert refused(body) is None


def test_a_large_body_is_not_parsed() -> None:
    assert refused(json.dumps({"store": True, "input": "x" * MAX_PARSED}).encode()) is None


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    found = refused(b'{"store":' + body)
    assert found is None or found.field

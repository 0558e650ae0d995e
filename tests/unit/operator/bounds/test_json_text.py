"""What JSON of others is measured by before it is parsed: bytes, elements, depth, numbers."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llama_operator.bounds.json_text import DIGITS, JsonLimits, OverLimitError, check_json
from llama_operator.bounds.parse import UnreadableError, parse_json

WIDE = JsonLimits(size=1 << 30, elements=1 << 30, depth=1 << 30)
SMALL = JsonLimits(size=1000, elements=50, depth=5)

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=8), inner, max_size=6)),
    max_leaves=40,
)


def members(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(inner) + sum(members(one) for one in inner)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth(one) for one in inner), default=0)


@given(VALUES, st.booleans())
def test_no_value_has_more_than_was_measured(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    check_json(text, WIDE)
    if members(value) > 0:
        with pytest.raises(OverLimitError, match="elements"):
            check_json(text, JsonLimits(size=1 << 30, elements=members(value) - 1, depth=1 << 30))
    if depth(value) > 0:
        with pytest.raises(OverLimitError, match="nested"):
            check_json(text, JsonLimits(size=1 << 30, elements=1 << 30, depth=depth(value) - 1))
    check_json(text, JsonLimits(size=len(text), elements=2 * members(value) + 1, depth=depth(value)))


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are_it_is_a_verdict(data: bytes) -> None:
    try:
        check_json(data, SMALL)
    except OverLimitError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'"' + b"x" * 2000 + b'"', "has 2002 bytes, the limit is 1000"),
        (b"[" + b"0," * 60 + b"0]", "has 61 elements of JSON, the limit is 50"),
        (b"[" * 30, "is nested 30 levels deep, the limit is 5"),
        (b"[1" + b"0" * DIGITS + b"]", "has the number 100000000000..., the limit is 40 digits and 1e99"),
        (b"[1e999]", "has the number e999"),
        (b"[NaN]", "has the number NaN"),
        (b"[-Infinity]", "has the number Infinity"),
    ],
)
def test_what_is_over_a_limit_names_the_number_and_the_limit(text: bytes, said: str) -> None:
    with pytest.raises(OverLimitError) as caught:
        check_json(text, SMALL)
    assert said in str(caught.value)


def test_what_stands_in_strings_counts_for_nothing() -> None:
    text = json.dumps(['[[[[[[[[,,,,,{"NaN Infinity 1e999' + "9" * 99, '\\"[[[[[[[[[']).encode()
    check_json(text, JsonLimits(size=1000, elements=2, depth=1))


class Named(BaseModel):
    name: str
    more: dict[str, int] = {}


def test_a_model_or_one_clause() -> None:
    assert parse_json(Named, b'{"name": "x"}', SMALL) == Named(name="x")
    with pytest.raises(UnreadableError, match=r"^name is missing"):
        parse_json(Named, b"{}", SMALL)
    with pytest.raises(UnreadableError, match="not valid JSON"):
        parse_json(Named, b'{"name":', SMALL)
    with pytest.raises(UnreadableError, match="UTF-8"):
        parse_json(Named, b"\xff", SMALL)


def test_a_thousand_errors_are_one_clause() -> None:
    text = json.dumps({"name": "x", "more": dict.fromkeys(map(str, range(1000)), "no")}).encode()
    with pytest.raises(UnreadableError, match=r"^the answer breaks 1000 rules$"):
        parse_json(Named, text, WIDE)


def test_what_is_refused_was_never_built() -> None:
    text = b"[" + b"[]," * 300_000 + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(OverLimitError):
            parse_json(Named, text, JsonLimits(size=1 << 20, elements=1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text), "parsed it has 20 MB"

"""JSON of strangers: bounded in bytes, elements, depth and digits before it takes memory."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.common.foreign_json import SMALL, JsonLimitError, JsonLimits, parse_foreign_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


@given(JSON)
def test_what_is_within_its_limits_is_read_as_it_is(value: object) -> None:
    assert parse_foreign_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"[" * 200_000, "deeper than 64 levels"),
        (b'{"a":' * 200_000, "deeper than 64 levels"),
        (b"[" * 900 + b"]" * 900, "deeper than 64 levels"),
        (b"[" * 65 + b"]" * 65, "deeper than 64 levels"),
        (b"[" + b"[]," * 200_000 + b"[]]", "has 400002 elements, and at most 250000 are read"),
        (b'{"a":' + b"9" * 4300 + b"}", "a whole number of 4300 digits"),
        (b'{"a":-' + b"9" * 100_000 + b"}", "a whole number of 100001 digits"),
        (b" " * (SMALL.bytes + 1), "bytes"),
    ],
)
def test_what_is_more_is_refused(text: bytes, sentence: str) -> None:
    with pytest.raises(JsonLimitError, match=sentence):
        parse_foreign_json(text)


@pytest.mark.parametrize("text", [b"", b"[", b"\xff", b'"\xed\xa0\x80"', b"{]", b"\xef\xbb\xbf{}"])
def test_what_is_no_json_is_said(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_foreign_json(text)


def test_depth_is_counted_to_the_level() -> None:
    assert parse_foreign_json(b"[[[1]]]", limits=JsonLimits(depth=3)) == [[[1]]]
    with pytest.raises(JsonLimitError):
        parse_foreign_json(b"[[[1]]]", limits=JsonLimits(depth=2))


def test_the_memory_of_the_largest_text_is_bounded() -> None:
    """Objects with one key take the most memory for an element."""
    one = b'{"a":1},'
    text = b"[" + one * ((SMALL.elements - 2) // 2) + b"0]"
    tracemalloc.start()
    try:
        parse_foreign_json(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_clause(text: bytes) -> None:
    said = "read"
    try:
        parse_foreign_json(text)
    except ValueError as error:
        said = str(error)
    assert said

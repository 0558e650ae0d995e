"""Places of the outermost fields: those of a parser, in bounds, in short steps."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.fields.scanner import (
    MOST_DEPTH,
    MOST_FIELDS,
    MOST_PARTS,
    PARTS_AT_A_TIME,
    WINDOW,
    NoObjectError,
    Span,
    TooComplexError,
    scan,
)

TEXTS = st.text(alphabet=st.sampled_from('ab"\\\n[]{},: é🙂'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def spans(body: bytes) -> tuple[dict[str, Span], int]:
    """Return what a scan finds, and in how many steps."""
    steps, count = scan(body), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: dict[str, Span] = end.value
            return found, count
        count += 1


def values(body: bytes) -> dict[str, Any]:
    return {name: json.loads(body[start:end]) for name, (start, end) in spans(body)[0].items()}


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_they_are_those_of_a_parser(fields: dict[str, Any], escaped: bool, indent: int | None) -> None:
    assert values(json.dumps(fields, ensure_ascii=escaped, indent=indent).encode()) == fields


@given(st.binary(max_size=40))
def test_any_bytes_have_an_end(body: bytes) -> None:
    try:
        found, _ = spans(b'{"a":' + body)
    except NoObjectError:
        return
    assert "a" in found


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.integers(0, 200), st.binary(max_size=2))
def test_whatever_a_parser_takes_is_found(fields: dict[str, Any], at: int, change: bytes) -> None:
    """Bytes that are changed anywhere: where a parser still reads an object, so does the scan, and the same one."""
    body = json.dumps(fields).encode()
    changed = body[:at] + change + body[at + len(change) :]
    try:
        parsed = json.loads(changed.decode())
    except ValueError:
        return
    if isinstance(parsed, dict):
        assert values(changed) == parsed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"{",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{"a":1}x',
        b'{"a":"\\"}',
        b'{"a":"',
        b'{"\\u":1}',
        b"{a:1}",
    ],
)
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(NoObjectError):
        spans(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a":' + b"[" * (MOST_DEPTH + 1), "deep"),
        (b'{"a":[' + b"[]," * MOST_PARTS + b"[]]}", "strings, objects and arrays"),
        (b'{"a":[' + b'"",' * MOST_PARTS + b"0]}", "strings, objects and arrays"),
        (json.dumps({str(number): 0 for number in range(MOST_FIELDS + 1)}).encode(), "fields"),
        (json.dumps({"x" * 300: 0}).encode(), "name of a field"),
    ],
)
def test_what_is_beyond_the_bounds(body: bytes, why: str) -> None:
    with pytest.raises(TooComplexError, match=why):
        spans(body)


@pytest.mark.parametrize("size", [WINDOW - 8, WINDOW - 7, WINDOW - 6, WINDOW - 5, WINDOW, 3 * WINDOW])
@pytest.mark.parametrize("unit", ["x", '"', "\\", "é"])
def test_values_of_several_windows_are_whole(size: int, unit: str) -> None:
    for begins in ("", "y"):
        text = begins + unit * (size // len(json.dumps(unit)[1:-1]))
        body = json.dumps({"a": text, "b": [1, text]}).encode()
        found, steps = spans(body)
        assert {name: json.loads(body[start:end]) for name, (start, end) in found.items()} == {
            "a": text,
            "b": [1, text],
        }
        assert steps >= len(body) // WINDOW - 2


def test_many_parts_are_many_steps() -> None:
    body = json.dumps({"a": [""] * (MOST_PARTS - 2)}).encode()
    assert spans(body)[1] >= MOST_PARTS // PARTS_AT_A_TIME - 1


@pytest.mark.parametrize("item", [b"[]", b'"\\n"', b"{}", b"1"])
def test_a_scan_takes_next_to_no_memory(item: bytes) -> None:
    body = b'{"a":[' + b",".join([item] * 5_000) + b"]}"
    tracemalloc.start()
    try:
        spans(body)  # as objects they would take 64 bytes each and more
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 10

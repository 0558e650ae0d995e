"""gzip in base64: what it stands for, up to a limit, whatever it would become."""

import base64
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.bounds.json_text import OverLimitError
from llama_operator.bounds.packed import DamagedError, inflate


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb(megabytes: int) -> bytes:
    """gzip of so many megabytes of spaces, made a megabyte at a time."""
    machine = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [machine.compress(b" " * (1 << 20)) for _ in range(megabytes)]
    return b"".join([*parts, machine.flush()])


@given(st.binary(max_size=2000))
def test_what_was_packed_comes_back(data: bytes) -> None:
    packed = gzip.compress(data)
    assert inflate(text_of(packed), packed=len(packed), inflated=len(data)) == data
    if data:
        with pytest.raises(OverLimitError):
            inflate(text_of(packed), packed=len(packed), inflated=len(data) - 1)


@given(st.text(max_size=400))
def test_any_text_is_refused_in_one_clause(text: str) -> None:
    with pytest.raises(DamagedError):
        inflate(text, packed=1 << 20, inflated=1 << 20)


@given(st.data())
def test_a_cut_or_changed_byte_never_passes_as_something_else(data: st.DataObject) -> None:
    body = b"the manifest of some weights" * 20
    packed = bytearray(gzip.compress(body))
    where = data.draw(st.integers(10, len(packed) - 1))
    if data.draw(st.booleans()):
        del packed[where:]
    else:
        packed[where] ^= data.draw(st.integers(1, 255))
    try:
        found = inflate(text_of(bytes(packed)), packed=1 << 20, inflated=1 << 20)
    except (DamagedError, OverLimitError):
        return
    assert found == body


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"x") + gzip.compress(b"y"), "bytes after its end"),
        (gzip.compress(b"x") + b"!", "has 1 bytes after its end"),
        (gzip.compress(b"x" * 99)[:-4], "is cut short"),
        (zlib.compress(b"x"), "is no gzip"),
        (b"", "is cut short"),
    ],
)
def test_what_is_no_whole_gzip_says_why(data: bytes, said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        inflate(text_of(data), packed=1 << 20, inflated=1 << 20)


def test_a_bomb_of_half_a_gigabyte_costs_its_limit() -> None:
    text = text_of(bomb(512))
    assert len(text) < 1 << 20, "it fits into a ConfigMap"
    tracemalloc.start()
    try:
        with pytest.raises(OverLimitError, match="more than 4194304 bytes when it is unpacked, which is the limit"):
            inflate(text, packed=1 << 20, inflated=4 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_more_text_than_a_config_map_holds_is_not_even_decoded() -> None:
    with pytest.raises(OverLimitError, match="has 2000000 characters of base64, the limit is 1398104"):
        inflate("A" * 2_000_000, packed=1 << 20, inflated=1 << 20)

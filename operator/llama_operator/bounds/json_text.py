"""JSON of others, measured before a parser builds anything of it.

A parsed element takes some 60 bytes whatever its text takes, so a megabyte of ``[[],[],`` becomes twenty. Strings are
taken out with one regular expression; what is left has one comma or one opening bracket for each element. Numbers that
no float holds are refused as well: a sum with one of them would fail, or be infinite.
"""

import re
from dataclasses import dataclass
from typing import Final

_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
DIGITS: Final = 40  # in a row: no float has as many, and no count
_NUMBER: Final = re.compile(rb"[0-9]{%d,}|[eE]\+?[0-9]{3,}|NaN|Infinity" % (DIGITS + 1))
_ELEMENTS: Final = (b",", b"[", b"{")
_OPENING: Final = b"[{"
_NOT_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")


class OverLimitError(ValueError):
    """Something is larger than its limit; the text says by which number, as a clause without a subject."""


@dataclass(frozen=True, kw_only=True)
class JsonLimits:
    """How much one JSON text may be. ``size`` in bytes, ``elements``: members of all lists and objects."""

    size: int
    elements: int
    depth: int = 32


def check_json(text: bytes, limits: JsonLimits) -> None:
    """Raise OverLimitError for a text over a limit; whether it is JSON is left to the parser."""
    if len(text) > limits.size:
        raise OverLimitError(f"has {len(text)} bytes, the limit is {limits.size}")
    bare = _TEXT.sub(b"", text)
    if (found := sum(bare.count(mark) for mark in _ELEMENTS)) > limits.elements:
        raise OverLimitError(f"has {found} elements of JSON, the limit is {limits.elements}")
    if (deep := _depth(bare)) > limits.depth:
        raise OverLimitError(f"is nested {deep} levels deep, the limit is {limits.depth}")
    if number := _NUMBER.search(bare):
        raise OverLimitError(f"has the number {number[0][:12].decode()}..., the limit is {DIGITS} digits and 1e99")


def _depth(bare: bytes) -> int:
    depth = deepest = 0
    for bracket in bare.translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest

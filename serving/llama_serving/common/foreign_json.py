"""Reads JSON that somebody else wrote: bounded before it is parsed, so that no text takes more than it may.

An element takes at most 300 bytes of memory beside its text (an object with one key), and the text of a string at most
four times its bytes. So ``limits`` bounds what a text can take: some 75 MB for ``SMALL``, its text not counted.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

_MOST_DIGITS: Final = 64  # tokenizers say "no limit" with a number of 31 digits


@dataclass(frozen=True)
class JsonLimits:
    """What a text may have at most."""

    bytes: int = 16 << 20
    elements: int = 250_000  # counted by what begins or parts them, those in texts included
    depth: int = 64


#: A file of a model or an adapter, or the answer of a source. The largest of Llama 3.1 405B have 0.3 MB.
SMALL: Final = JsonLimits()


class JsonLimitError(ValueError):
    """A text is more than its limits allow; the clause says which."""


def parse_foreign_json(text: bytes, *, limits: JsonLimits = SMALL) -> Any:
    """Return the value that ``text`` is.

    Raises:
        JsonLimitError: it is more than ``limits``.
        ValueError: it is no JSON in UTF-8.
    """
    if len(text) > limits.bytes:
        raise JsonLimitError(f"it has {len(text)} bytes, and at most {limits.bytes} are read")
    elements = sum(map(text.count, (b",", b"[", b"{")))
    if elements > limits.elements:
        raise JsonLimitError(f"it has {elements} elements, and at most {limits.elements} are read")
    try:
        value = json.loads(text.decode(), parse_int=_whole_number)
    except RecursionError:
        raise JsonLimitError(_too_deep(limits)) from None
    if _is_deeper(value, limits.depth):
        raise JsonLimitError(_too_deep(limits))
    return value


def _too_deep(limits: JsonLimits) -> str:
    return f"it is nested deeper than {limits.depth} levels"


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise JsonLimitError(f"it has a whole number of {len(digits)} digits, and none has more than {_MOST_DIGITS}")
    return int(digits)


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether containers lie more than ``depth`` deep; level by level, since a text may be as deep as wide."""
    level = [value]
    for _ in range(depth):
        level = [item for one in level for item in _items(one) if isinstance(item, list | dict)]
        if not level:
            return False
    return True


def _items(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()

"""The outermost fields of a body: parsed if the body is short, else their places, and parsed one by one when asked for.

A body is read once. Whoever wants to know something of it (which model, a stream, a field that needs a store) asks the
same ``RequestFields``. They live as long as a request is read; what is kept for longer is kept as bytes.
"""

import gc
import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final

from llama_serving.gateway.fields.scanner import WINDOW, Body, NoObjectError, Span, TooComplexError, scan

#: Longer bodies are not looked at.
MAX_PARSED: Final = 4 << 20
#: Bodies up to this length are parsed at once: at worst 6,000 objects, half a millisecond.
SHORT: Final = 16 << 10
#: Bytes and elements of the values that are parsed of a longer one, in sum.
MOST_BYTES: Final = 256 << 10
MOST_ELEMENTS: Final = 32 << 10

_NULL: Final = b"null"
#: Shorter JSON makes too few objects to matter.
_COLLECTED_BELOW: Final = 2 << 10


class RequestFields:
    """The fields of one body; a field that is null counts as absent."""

    def __init__(self, body: Body, *, parsed: dict[str, Any], spans: Mapping[str, Span]) -> None:
        self._body = body
        self._parsed = parsed
        self._spans = spans
        self._bytes = MOST_BYTES
        self._elements = MOST_ELEMENTS

    def names(self) -> Iterator[str]:
        """Return the names of the fields that are not null."""
        return (name for name in self._spans or self._parsed if not self.is_absent(name))

    def get(self, name: str) -> Any:
        """Return a field's value; None where it is absent. Raises TooComplexError, and ValueError for no JSON."""
        if name not in self._parsed and name in self._spans:
            self._parsed[name] = self._parse(name)
        return self._parsed.get(name)

    def is_absent(self, name: str) -> bool:
        """Return whether there is no such field, or it is null."""
        if name not in self._spans:
            return self._parsed.get(name) is None
        start, _ = self._spans[name]
        return self._body[start : start + len(_NULL)] == _NULL

    def windows(self, name: str) -> Iterator[Body]:
        """Yield a value of a long body as it stands there, piece by piece."""
        start, end = self._spans.get(name, (0, 0))
        for at in range(start, end, WINDOW):
            yield self._body[at : min(at + WINDOW, end)]

    def places(self, name: str, word: bytes) -> Iterator[int]:
        """Yield where a word stands in a value of a long body."""
        start, end = self._spans.get(name, (0, 0))
        at = self._body.find(word, start, end)
        while at >= 0:
            yield at
            at = self._body.find(word, at + len(word), end)

    def matches(self, pattern: re.Pattern[bytes], place: int) -> bool:
        """Return whether a pattern matches at this place of the body."""
        return pattern.match(self._body, place) is not None

    @property
    def is_short(self) -> bool:
        """Whether all of the body was parsed."""
        return not self._spans

    def _parse(self, name: str) -> Any:
        start, end = self._spans[name]
        self._bytes -= end - start
        if self._bytes < 0:
            raise TooComplexError(f"the fields that are looked at have more than {MOST_BYTES} bytes")
        raw = self._body[start:end]
        self._elements -= raw.count(b",") + raw.count(b"[") + raw.count(b"{")
        if self._elements < 0:
            raise TooComplexError(f"the fields that are looked at have more than {MOST_ELEMENTS} elements")
        try:
            return _loads(raw)
        except RecursionError:
            raise TooComplexError("the body is nested too deep") from None


def reading(body: Body) -> Generator[None, None, RequestFields | None]:
    """Read the fields, in steps of milliseconds; None where the body is no JSON object. Raises TooComplexError."""
    if len(body) > MAX_PARSED:
        raise TooComplexError(f"the body has more than {MAX_PARSED} bytes")
    if len(body) <= SHORT:
        return _parsed(body)
    try:
        spans = yield from scan(body)
    except NoObjectError:
        return None
    return RequestFields(body, parsed={}, spans=spans)


def read_fields(body: Body) -> RequestFields | None:
    """Read the fields in one go. Raises TooComplexError."""
    steps = reading(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            fields: RequestFields | None = end.value
            return fields


def _parsed(body: Body) -> RequestFields | None:
    try:
        parsed = _loads(body)
    except (ValueError, RecursionError):
        return None  # the engine reports what is wrong with it
    return RequestFields(body, parsed=parsed, spans={}) if isinstance(parsed, dict) else None


def _loads(raw: Body) -> Any:
    """Parse JSON without the garbage collector, which would look at all that lives for each 70,000 new objects.

    Nothing in them is garbage, and they are gone soon.
    """
    if len(raw) < _COLLECTED_BELOW or not gc.isenabled():
        return json.loads(raw.decode())
    gc.disable()
    try:
        return json.loads(raw.decode())
    finally:
        gc.enable()

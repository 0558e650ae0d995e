"""Finds the outermost fields of a long JSON object, without making objects of what is in them.

Parsed JSON takes many times its bytes (``[]`` is 2 bytes and then 64), and to parse 4 MiB of it stops a process for
half a second. So only the places of the values are found. The scan is a generator: it yields after some milliseconds at
most, for other work, and counts as part whatever costs it a step.

JSON is not checked beyond that: an engine says what is wrong with the inside of a value. Only what it would read as
one object is found here, with the same fields: of two equal names the last one counts.
"""

import json
import re
from collections.abc import Generator
from typing import Final

#: Bytes that one search looks at, and parts, before the scan yields.
WINDOW: Final = 128 << 10
PARTS_AT_A_TIME: Final = 1024
#: Strings, objects and arrays in a body, of any depth.
MOST_PARTS: Final = 64 << 10
_SAMPLE: Final = 4 * PARTS_AT_A_TIME
_TOO_MANY: Final = f"the body has more than {MOST_PARTS} strings, objects and arrays"
MOST_DEPTH: Final = 128
MOST_FIELDS: Final = 256
LONGEST_NAME: Final = 256

# Possessive, so that no search keeps a trail to go back.
_IN_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_PLAIN: Final = re.compile(rb'[^"\[\]{}]*+')
_SCALAR: Final = re.compile(rb'[^"\[\]{},:\s]*+')
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPENING, _CLOSING = b"{[", b"}]"
_BEGIN, _END = b"{}"

Body = bytes | bytearray
Span = tuple[int, int]
Steps = Generator[None, None, int]


class NoObjectError(Exception):
    """The body is no JSON object."""


class TooComplexError(Exception):
    """The body is beyond what is looked at; the message says how, as a clause."""


def scan(body: Body) -> Generator[None, None, dict[str, Span]]:
    """Return the places of the outermost fields' values. Raises NoObjectError and TooComplexError."""
    return _Scan(body).fields()


class _Scan:
    """One scan; ``_at`` is the byte that comes next, -1 behind the end."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._parts = 0

    def fields(self) -> Generator[None, None, dict[str, Span]]:
        found: dict[str, Span] = {}
        at = yield from self._expect(0, _BEGIN)
        at = yield from self._skip(_SPACE, at)
        if self._byte(at) != _END:
            while True:
                at = yield from self._field(at, found)
                if self._byte(at) != _COMMA:
                    break
                at = yield from self._skip(_SPACE, at + 1)
        at = yield from self._expect(at, _END)
        if (yield from self._skip(_SPACE, at)) != len(self._body):
            raise NoObjectError
        return found

    def _field(self, at: int, found: dict[str, Span]) -> Steps:
        end = yield from self._string(at)
        name = self._name(at, end)
        at = yield from self._expect(end, _COLON)
        at = yield from self._skip(_SPACE, at)
        end = yield from self._value(at)
        found[name] = at, end
        if len(found) > MOST_FIELDS:
            raise TooComplexError(f"the body has more than {MOST_FIELDS} fields")
        return (yield from self._skip(_SPACE, end))

    def _name(self, start: int, end: int) -> str:
        if end - start > LONGEST_NAME:
            raise TooComplexError(f"the name of a field has more than {LONGEST_NAME} bytes")
        try:
            return str(json.loads(self._body[start:end]))
        except ValueError:
            raise NoObjectError from None

    def _value(self, at: int) -> Steps:
        first = self._byte(at)
        if first == _QUOTE:
            return (yield from self._string(at))
        if first in _OPENING:
            return (yield from self._nested(at))
        end = yield from self._skip(_SCALAR, at)
        if end == at:
            raise NoObjectError
        return end

    def _nested(self, at: int) -> Steps:
        depth = 0
        while True:
            byte = self._byte(at)
            if byte == _QUOTE:
                at = yield from self._string(at)
            elif byte in _OPENING:
                yield from self._count(at)
                depth, at = depth + 1, at + 1
                if depth > MOST_DEPTH:
                    raise TooComplexError(f"the body is nested more than {MOST_DEPTH} deep")
            else:  # a closing one: there is nothing else that _PLAIN stops at
                depth, at = depth - 1, at + 1
                if depth == 0:
                    return at
            at = yield from self._skip(_PLAIN, at)

    def _string(self, at: int) -> Steps:
        if self._byte(at) != _QUOTE:
            raise NoObjectError
        yield from self._count(at)
        at = yield from self._skip(_IN_STRING, at + 1)
        if self._byte(at) != _QUOTE:
            raise NoObjectError
        return at + 1

    def _expect(self, at: int, byte: int) -> Steps:
        at = yield from self._skip(_SPACE, at)
        if self._byte(at) != byte:
            raise NoObjectError
        return at + 1

    def _skip(self, pattern: re.Pattern[bytes], at: int) -> Steps:
        """Return where the pattern ends, in windows; each window but the last is one step."""
        while True:
            window = at + WINDOW
            found = pattern.match(self._body, at, window)
            end = at if found is None else found.end()
            # A window may end between a backslash and what it escapes: the next one begins at the backslash.
            if end < window - 1 or end >= len(self._body) or end == at:
                return end
            at = end
            yield

    def _count(self, at: int) -> Generator[None, None, None]:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooComplexError(_TOO_MANY)
        if self._parts % PARTS_AT_A_TIME == 0:
            # A body of nothing but parts is known by its beginning, and others wait for their turn.
            if self._parts >= _SAMPLE and self._parts * len(self._body) // at > 4 * MOST_PARTS:
                raise TooComplexError(_TOO_MANY)
            yield

    def _byte(self, at: int) -> int:
        if at >= len(self._body):
            raise NoObjectError
        return self._body[at]

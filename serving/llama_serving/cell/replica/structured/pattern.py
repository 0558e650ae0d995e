"""Is a regular expression one that a grammar can keep, at a bounded cost? Pure.

It is read by Python's own parser, which knows all of what xgrammar 0.2.8 takes and names the place of an error. Counted
repetitions are written out in a grammar, so their product is bounded.
"""

import re
import warnings
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]  # of sre, for 15 years the same
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from llama_serving.cell.replica.structured.limits import PATTERN, REPEATS, BadSchemaError

_REFUSED: Final = {
    codes.ASSERT: "looks ahead or behind",
    codes.ASSERT_NOT: "looks ahead or behind",
    codes.GROUPREF: "refers back to a group",
    codes.GROUPREF_EXISTS: "refers back to a group",
    codes.ATOMIC_GROUP: "has an atomic group",
    codes.POSSESSIVE_REPEAT: "has a possessive repetition",
}
_NAMED: Final = re.compile(r"\(\?<(?![=!])")  # a named group, as other languages spell it
_REPEATS: Final = frozenset({codes.MAX_REPEAT, codes.MIN_REPEAT})


def check_pattern(pattern: Any, place: str) -> None:
    """Check a regular expression, ``place`` is its name in the request; raises BadSchemaError."""
    if not isinstance(pattern, str):
        raise BadSchemaError(place, f"a pattern is a text, not {pattern!r:.60}")
    if len(pattern) > PATTERN:
        raise BadSchemaError(place, f"a pattern of {len(pattern)} characters; {PATTERN} are the most")
    if "\0" in pattern:
        raise BadSchemaError(place, "a pattern has no NUL character")
    try:
        with warnings.catch_warnings(action="ignore"):  # of what a later Python may read otherwise
            size = _size(parser.parse(_NAMED.sub("(?P<", pattern)), place)
    except re.error as error:
        at = "" if error.pos is None else f" at character {error.pos}"
        raise BadSchemaError(place, f"not a regular expression: {error.msg}{at}") from error
    except (RecursionError, OverflowError) as error:
        raise BadSchemaError(place, "a pattern that is nested too deeply") from error
    if size > REPEATS:
        raise BadSchemaError(place, f"its repetitions are {size} parts written out; {REPEATS} are the most")


def _size(parsed: Iterable[Any], place: str) -> int:
    """Return how many parts the grammar has, repetitions written out."""
    return sum(_size_of(code, value, place) for code, value in parsed)


def _size_of(code: Any, value: Any, place: str) -> int:
    if code in _REFUSED:
        raise BadSchemaError(place, f"a pattern that {_REFUSED[code]} has no grammar")
    if code in _REPEATS:
        least, most, item = value
        times = least if most == codes.MAXREPEAT else most
        return max(int(times), 1) * _size(item, place)
    if code is codes.SUBPATTERN:
        return _size(value[-1], place)
    if code is codes.BRANCH:
        return sum(_size(branch, place) for branch in value[1])
    return 1

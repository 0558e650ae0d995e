"""The value of one field of a README's head, out of what stands behind its colon and the lines below.

A text, a list of texts, or None. An object, and a list inside a list, are ``NESTED``: nothing that is asked of a head
is one. Time and memory grow with the length of the text, whoever wrote it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Stands for an object, or for a list inside a list.
NESTED: Final[dict[str, Any]] = {}

_COMMENT: Final = re.compile(r"(?:^|[ \t])#")
# A quoted text that is not closed goes to the end: so every character is looked at once.
_PIECE: Final = re.compile(r"[\[\]{},]|\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|'[^']*+(?:'|\Z)|[^\[\]{},\"']+", re.DOTALL)
_BLOCK: Final = re.compile(r"[|>][-+0-9]*")
_NULLS: Final = ("", "~", "null", "Null", "NULL")
_NO_START: Final = {
    "*": "found undefined alias, or one that is not followed",
    "&": "found an anchor, which is not read",
    "!": "found a tag, which is not read",
    "%": "found a character that begins no value",
    "@": "found a character that begins no value",
    "`": "found a character that begins no value",
}


@dataclass(frozen=True)
class Line:
    """A line of the head, by its number in the file."""

    number: int
    text: str


class HeadError(ValueError):
    """A head that is no YAML, or more of it than is read."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def value_of(first: Line, rest: Sequence[Line]) -> Any:
    """Return the value of a field. Raises HeadError."""
    text = _without_comment(first.text).strip()
    below = [line for line in rest if line.text.strip() and not line.text.lstrip().startswith("#")]
    if text[:1] in ("[", "{"):
        return _in_brackets(" ".join([text, *(_without_comment(line.text).strip() for line in below)]), first.number)
    if _BLOCK.fullmatch(text):
        return " ".join(line.text.strip() for line in rest).strip()
    if text or not below:
        return _scalar(" ".join([text, *(line.text.strip() for line in below)]).strip(), first.number)
    return _below(below)


def line_value(text: str) -> Any:
    """Return the value that stands in one line; None for one that cannot be read alone."""
    try:
        begins_open = text.lstrip()[:1] in ("[", "{")
        return None if begins_open and opened_brackets(text) > 0 else value_of(Line(0, text), ())
    except HeadError:
        return None


def _below(lines: Sequence[Line]) -> Any:
    """Return the value that begins in the line below its key: a list of items, an object, or a text."""
    items: list[Any] = []
    indent = _indent(lines[0].text)
    for line in lines:
        bare = line.text.strip()
        if bare != "-" and not bare.startswith("- "):
            if not items:
                return NESTED if ":" in bare else _scalar(" ".join(one.text.strip() for one in lines), line.number)
            items[-1] = NESTED  # an item of several lines
        elif _indent(line.text) > indent:
            items[-1] = NESTED
        else:
            items.append(_item(bare[1:].strip(), line.number))
    return items


def _item(text: str, number: int) -> Any:
    text = _without_comment(text).strip()
    if text[:1] in ("[", "{") or text.startswith("- "):
        return NESTED
    return NESTED if ": " in text and text[:1] not in ("'", '"') else _scalar(text, number)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _in_brackets(text: str, number: int) -> Any:
    """Return the items of a list in brackets; NESTED for an object."""
    items: list[list[str]] = [[]]
    nested: set[int] = set()  # items that are lists or objects themselves
    depth = 0
    for piece in _PIECE.finditer(text):
        part = piece.group()
        depth += _step(part)
        if depth == 0:
            if text[piece.end() :].strip():
                raise HeadError(number, "something stands behind the closing bracket")
            break
        if depth > 1:
            nested.add(len(items) - 1)
        elif part == ",":
            items.append([])
        elif _step(part) == 0:
            items[-1].append(part)
    if text.startswith("{"):
        return NESTED
    texts = ["".join(parts).strip() for parts in items]
    last = len(texts) - 1
    kept = texts[:-1] if not texts[-1] and last not in nested else texts
    return [NESTED if place in nested else _scalar(one, number) for place, one in enumerate(kept)]


def opened_brackets(text: str) -> int:
    """Return how many brackets a line opens more than it closes, those in quotes and comments left out."""
    return sum(_step(piece.group()) for piece in _PIECE.finditer(_without_comment(text)))


def _step(part: str) -> int:
    return (part in ("[", "{")) - (part in ("]", "}"))


def _scalar(text: str, number: int) -> str | None:
    """Return a text without its quotes; None for null."""
    if text[:1] in ("'", '"'):
        if len(text) < 2 or text[-1] != text[0]:
            raise HeadError(number, "a quoted text is not closed")
        return text[1:-1]
    if problem := _NO_START.get(text[:1], ""):
        raise HeadError(number, problem)
    if ": " in text or text.endswith(":"):
        raise HeadError(number, "mapping values are not allowed here")
    return None if text in _NULLS else text


def _without_comment(text: str) -> str:
    """Return a line without the comment at its end; ``#`` inside the quotes of a quoted text begins none."""
    bare = text.strip()
    quoted = bare.find(bare[0], 1) + 1 if bare[:1] in ("'", '"') else 0
    found = _COMMENT.search(bare, quoted)
    return bare if found is None else bare[: found.start()]

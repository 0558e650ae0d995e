"""The front matter of a README.md: lines ``key: value`` between two lines ``---`` at its beginning.

The Hub reads it as YAML. Here it is read line by line, without a YAML library: a stranger wrote it, and YAML's aliases,
merges and tags are programs. The common forms are understood: texts with and without quotes, lists in brackets and in
lines ``- item``, folded blocks. A byte order mark, empty lines before it and Windows' line ends do not matter. What
cannot be read is not overlooked: ``fault`` says where it fails, and lines ``key: value`` of it still count, since a
head with one wrong line names its license all the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llama_serving.weights.model.errors import shown
from llama_serving.weights.resolve.head_values import HeadError, Line, line_value, opened_brackets, value_of

_BEGIN: Final = re.compile(r"\A\ufeff?\s*---[ \t]*\n")
_KEY: Final = re.compile(r"[A-Za-z_][\w-]*")
_END: Final = re.compile(r"^---[ \t]*$", re.MULTILINE)
_FIRST_LINE: Final = 2  # the first line of the file is the one with ``---``


@dataclass(frozen=True)
class FrontMatter:
    """The fields; each with all of its values where the head names it twice or could not be read."""

    fields: Mapping[str, list[Any]] = field(default_factory=dict)
    fault: str = ""

    def values(self, key: str) -> list[Any]:
        """Return what ``key`` was given; empty when it is not there."""
        return self.fields.get(key, [])


def read_front_matter(text: str) -> FrontMatter:
    """Return the front matter of ``text``; without one, no fields."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    begin = _BEGIN.match(text)
    if begin is None:
        return FrontMatter()
    rest = text[begin.end() :]
    end = _END.search(rest)
    if end is None:
        return FrontMatter(_lines(rest), "has no line --- that ends it")
    return _parsed(rest[: end.start()])


@dataclass
class _HeadField:
    """A key, what stands behind its colon, and the lines that belong to it."""

    key: str
    first: Line
    open: int = 0  # brackets that are not closed yet
    rest: list[Line] = field(default_factory=list)


def _parsed(head: str) -> FrontMatter:
    try:
        fields = _fields(head)
        values = [(one.key, value_of(one.first, one.rest)) for one in fields]
    except HeadError as error:
        return FrontMatter(_lines(head), f"is no YAML (line {error.line}: {shown(error.problem)})")
    if not fields:
        return FrontMatter(fault="has no fields, such as license: llama3.1" if _says_something(head) else "")
    twice = [key for key, found in _lines(head).items() if len(found) > 1]
    if twice:  # YAML forbids it, and the Hub with it
        return FrontMatter(_lines(head), f"names {shown(twice[0])} twice")
    return FrontMatter({key: [value] for key, value in values})


def _says_something(head: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in head.split("\n"))


def _fields(head: str) -> list[_HeadField]:
    """Return the fields of a head. Raises HeadError at the first line that belongs nowhere."""
    fields: list[_HeadField] = []
    lines = head.split("\n")
    for number, text in enumerate(lines, _FIRST_LINE):
        line = Line(number, text)
        if fields and fields[-1].open > 0:
            _check_continues(line)
            fields[-1].rest.append(line)
            fields[-1].open += opened_brackets(text)
        elif not _is_blank(text):
            if not fields and _is_inside(line):
                return []
            _add(line, fields)
    if fields and fields[-1].open > 0:
        raise HeadError(len(lines) + _FIRST_LINE - 1, "a bracket is not closed")
    if len(fields) > 1 and not fields[0].key:
        raise HeadError(fields[0].first.number, "found a text in place of a field")
    return [one for one in fields if one.key]


def _is_blank(text: str) -> bool:
    bare = text.strip()
    return not bare or (bare.startswith("#") and not text.startswith("\t"))


def _is_inside(line: Line) -> bool:
    """Return whether a line belongs to the field above it. Raises HeadError for an indent that YAML does not take."""
    if line.text.startswith("\t"):
        raise HeadError(line.number, "found a tab where an indent begins")
    return line.text.startswith((" ", "- ")) or line.text.strip() == "-"


def _add(line: Line, fields: list[_HeadField]) -> None:
    if _is_inside(line):
        fields[-1].rest.append(line)
    else:
        fields.append(_field(line, first=not fields))


def _check_continues(line: Line) -> None:
    key, colon, value = line.text.partition(":")
    if colon and _KEY.fullmatch(key) and value[:1] in ("", " "):
        raise HeadError(line.number, "a bracket is not closed before the next field")


def _field(line: Line, *, first: bool) -> _HeadField:
    key, colon, value = line.text.partition(":")
    if not colon or value[:1] not in ("", " ", "\t"):
        if first:
            return _HeadField("", Line(line.number, ""))  # a text without fields, if nothing else follows
        raise HeadError(line.number, "found neither a field nor what belongs to the one before")
    begins_open = value.lstrip()[:1] in ("[", "{")
    return _HeadField(key.strip().strip("'\""), Line(line.number, value), opened_brackets(value) if begins_open else 0)


def _lines(head: str) -> dict[str, list[Any]]:
    """Return the values that stand in lines of their own, one for each time that a key is there."""
    fields: dict[str, list[Any]] = {}
    for line in head.split("\n"):
        key, colon, value = line.partition(":")
        if colon and _KEY.fullmatch(key):
            fields.setdefault(key, []).append(line_value(value))
    return fields

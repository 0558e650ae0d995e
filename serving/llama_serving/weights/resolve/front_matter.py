"""The front matter of a README.md, read as the Hub reads it: YAML between two lines ``---`` at its beginning.

A byte order mark, empty lines before it and Windows' line ends do not matter. What cannot be read is not overlooked:
``fault`` says where it fails, and lines ``key: value`` of it still count, since a head with one wrong line names its
license all the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from llama_serving.weights.model.errors import shown

_BEGIN: Final = re.compile(r"\A\ufeff?\s*---[ \t]*\n")
_KEY: Final = re.compile(r"[A-Za-z_][\w-]*")
_END: Final = re.compile(r"^---[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class FrontMatter:
    """The fields; each with all of its values where the YAML names it twice or could not be read."""

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
    head = rest[: end.start()]
    return _parsed(head)


def _parsed(head: str) -> FrontMatter:
    try:
        found: Any = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return FrontMatter(_lines(head), f"is no YAML ({_place(error)})")
    if found is None:
        return FrontMatter()
    if not isinstance(found, dict):
        return FrontMatter(fault="has no fields, such as license: llama3.1")
    twice = [key for key, values in _lines(head).items() if len(values) > 1]
    if twice:  # YAML forbids it, and the Hub with it; the library here would take the last one
        return FrontMatter(_lines(head), f"names {shown(twice[0])} twice")
    return FrontMatter({str(key): [value] for key, value in found.items()})


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = shown(getattr(error, "problem", None) or error)
    # The first line of the file is the one with ``---``.
    return f"line {mark.line + 2}: {problem}" if mark else problem


def _lines(head: str) -> dict[str, list[Any]]:
    """Return the values that stand in lines of their own, one for each time that a key is there."""
    fields: dict[str, list[Any]] = {}
    for line in head.split("\n"):
        key, colon, value = line.partition(":")
        if colon and _KEY.fullmatch(key):
            fields.setdefault(key, []).append(_scalar(value))
    return fields


def _scalar(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None

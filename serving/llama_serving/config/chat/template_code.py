"""The code of a Jinja template: what stands in its tags, without texts, string literals and comments.

Read once from left to right, so that its time grows with the length of the text, whoever wrote it. Unlike Jinja, a
closing brace of a dictionary ends an expression when another follows; what is lost then is the rest of that tag.
"""

import re
from typing import Final

_OPENING: Final = re.compile(r"\{[%{#]")
_CLOSING: Final = {"{%": "%}", "{{": "}}"}
_STOP: Final = {"{%": re.compile(r"['\"]|%\}"), "{{": re.compile(r"['\"]|\}\}")}
_STRING: Final = {
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
}


def code_of(template: str) -> str:
    """Return the code, its tags and literals separated by spaces; an unclosed tag or literal ends it."""
    found: list[str] = []
    place = 0
    while (opening := _OPENING.search(template, place)) is not None:
        if opening.group() == "{#":
            end = template.find("#}", opening.end())
            if end < 0:
                break
            place = end + 2
            continue
        place = _read_tag(template, opening, found)
    return " ".join(found)


def _read_tag(template: str, opening: re.Match[str], found: list[str]) -> int:
    """Add the code of one tag to ``found``; return where the text goes on."""
    place = opening.end()
    while (stop := _STOP[opening.group()].search(template, place)) is not None:
        found.append(template[place : stop.start()])
        if stop.group() == _CLOSING[opening.group()]:
            return stop.end()
        literal = _STRING[stop.group()].match(template, stop.end())
        if literal is None:
            return len(template)
        place = literal.end()
    found.append(template[place:])
    return len(template)

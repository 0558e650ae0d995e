"""Reads from an answer on its way to the client what it used, as the engine says; hides what nobody asked for.

    {..., "usage": {"prompt_tokens": P, "completion_tokens": A, "prompt_tokens_details": {"cached_tokens": C}}}

``/v1/responses`` and ``/v1/messages`` say ``input_tokens`` and ``output_tokens``. The last object of this name counts:
in JSON a quote within a text has a backslash before it, so what stands behind it is the engine's own. A stream has its
usage in one of its last events; where the client did not ask for that event, it is taken out.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

_NAME: Final = b'"usage"'
_OBJECT: Final = re.compile(rb'"usage"\s*:\s*\{')
#: Bytes of a usage object that are read.
LONGEST: Final = 2048
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_EVENTS: Final = re.compile(rb".*?(?:\r?\n\r?\n)", re.DOTALL)
_ONLY_USAGE: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
#: Bytes of the beginning of an event that wait for its end; a longer one is no event that counts tokens.
LONGEST_HELD: Final = 64 << 10
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. ``estimated``: the engine did not say, or not all."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    estimated: bool = False


class Meter:
    """Reads one answer; ``hides``: its last event with the usage is not for the client."""

    __slots__ = ("_found", "_is_found_whole", "_last", "_rest", "hides")

    def __init__(self) -> None:
        self.hides = False
        self._found = b""
        self._is_found_whole = True
        self._last = b""
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the answer; return the bytes for the client, which may be none."""
        if self.hides:
            piece = self._without_usage(piece)
        elif _NAME in piece or not self._is_found_whole:
            self._read(piece)
        elif self._last:
            self._read_across(piece)
        self._last = piece[-len(_NAME) :]
        return piece

    def rest(self) -> bytes:
        """Return what was held back, at the end of the answer."""
        rest, self._rest = self._rest, b""
        return rest

    def usage(self) -> Usage | None:
        """Return what the engine said; None where it has not."""
        return parse_usage(self._found) if self._found else None

    def _without_usage(self, piece: bytes) -> bytes:
        piece = self._rest + piece
        self._rest = b""
        if not piece.endswith(_EVENT_ENDS):
            end = max(piece.rfind(mark) + len(mark) if mark in piece else 0 for mark in _EVENT_ENDS)
            if len(piece) - end <= LONGEST_HELD:
                piece, self._rest = piece[:end], piece[end:]
        if _NAME not in piece:
            return piece
        self._read(piece)
        return b"".join(event for event in _split(piece) if not is_usage_event(event))

    def _read(self, piece: bytes) -> None:
        if not self._is_found_whole:
            self._found += piece[: LONGEST - len(self._found)]
            self._is_found_whole = len(self._found) >= LONGEST or parse_usage(self._found) is not None
        at = -1
        for found in _OBJECT.finditer(piece):
            at = found.start()
        if at >= 0:
            self._found = piece[at : at + LONGEST]
            self._is_found_whole = len(self._found) == LONGEST or parse_usage(self._found) is not None

    def _read_across(self, piece: bytes) -> None:
        """Notice a name that was cut in two."""
        both = self._last + piece[: len(_NAME)]
        if _NAME in both:
            self._found, self._is_found_whole = self._last + piece[:LONGEST], False
            at = self._found.index(_NAME)
            self._found = self._found[at:]
            self._is_found_whole = parse_usage(self._found) is not None


def is_usage_event(event: bytes) -> bool:
    """Return whether an event says nothing but the usage."""
    return event.startswith(b"data:") and _OBJECT.search(event) is not None and _ONLY_USAGE.search(event) is not None


def parse_usage(text: bytes) -> Usage | None:
    """Return the usage in text that begins with its name; None where it is cut, or something else."""
    found = _OBJECT.match(text)
    if found is None:
        return None
    try:
        told, _ = _DECODER.raw_decode(text[found.end() - 1 :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    prompt = _count(told, "prompt_tokens", "input_tokens")
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details") or {}
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    cached = cached or _count(told, "cache_read_input_tokens")
    answer = _count(told, "completion_tokens", "output_tokens")
    return Usage(prompt, min(cached, prompt), answer)


def _split(piece: bytes) -> list[bytes]:
    events = _EVENTS.findall(piece)
    return [*events, piece[sum(map(len, events)) :]]


def _count(told: dict[str, Any], *names: str) -> int:
    for name in names:
        value = told.get(name)
        if type(value) is int and 0 <= value < 1 << 40:
            return value
    return 0

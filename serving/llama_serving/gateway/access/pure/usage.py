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
_NAMES: Final = re.compile(_NAME)
_MOST_CUT: Final = len(_NAME) - 1
_OBJECT: Final = re.compile(rb'"usage"\s*:\s*\{')
#: What may stand behind a name whose object has not come, or not whole.
_MAY_GO_ON: Final = re.compile(rb"\s*(?:\Z|:\s*(?:\Z|\{))")
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

    __slots__ = ("_held", "_open", "_tail", "_usage", "hides")

    def __init__(self) -> None:
        self.hides = False
        self._usage: Usage | None = None
        self._open = b""  # from the name of a usage object on whose end has not come
        self._tail = b""  # of the last pieces, as long as a name that is cut can be
        self._held = b""

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the answer; return the bytes for the client, which may be none."""
        if self.hides:
            piece = self._whole_events(piece)
        if self._open or _NAME in piece or _NAME in self._tail + piece[:_MOST_CUT]:
            self._read(piece)
            if self.hides:
                piece = b"".join(event for event in _split(piece) if not is_usage_event(event))
        self._tail = (self._tail + piece[-_MOST_CUT:])[-_MOST_CUT:]
        return piece

    def rest(self) -> bytes:
        """Return what was held back, at the end of the answer."""
        rest, self._held = self._held, b""
        return rest

    def usage(self) -> Usage | None:
        """Return what the engine said; None where it has not."""
        return self._usage

    def _whole_events(self, piece: bytes) -> bytes:
        piece, self._held = self._held + piece, b""
        if piece.endswith(_EVENT_ENDS):
            return piece
        end = max(piece.rfind(mark) + len(mark) if mark in piece else 0 for mark in _EVENT_ENDS)
        if len(piece) - end <= LONGEST_HELD:
            piece, self._held = piece[:end], piece[end:]
        return piece

    def _read(self, piece: bytes) -> None:
        text = (self._open or self._tail) + piece
        self._open = b""
        for name in _NAMES.finditer(text):
            usage = parse_usage(text[name.start() : name.start() + LONGEST])
            if usage is not None:
                self._usage = usage
            elif not self._open and len(text) - name.start() < LONGEST and _MAY_GO_ON.match(text, name.end()):
                self._open = text[name.start() :]


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

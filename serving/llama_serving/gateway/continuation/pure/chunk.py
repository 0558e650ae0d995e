"""The events of vLLM's two streams, as bytes and parsed.

    data: {"id":I,"object":O,"created":C,"model":M,"choices":[{"index":0,"delta":{"content":T},...,"token_ids":[N]}]}
    data: {...,"choices":[{"index":0,"text":T,"logprobs":null,"finish_reason":null,...,"token_ids":[N]}]}
    data: {...,"choices":[],"usage":{...}}                               if asked for
    data: {"error":{...}}                                                the engine failed
    data: [DONE]

With ``return_token_ids`` the first event of an answer also has ``prompt_token_ids``. Without it both are null, so
``without_ids`` returns, byte for byte, what the engine would have sent to a request without it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DONE: Final = b"data: [DONE]\n\n"
END: Final = b"\n\n"
_DATA = b"data: "
# A quote within a JSON text has a backslash before it, so neither can be a part of one.
ERROR: Final = b'data: {"error"'
ABORTED: Final = b'"finish_reason":"abort"'
PROMPT_IDS: Final = b'"prompt_token_ids":['
CHOICES: Final = b'"choices":['
_IDS = b'"token_ids":['
_OWN_IDS = re.compile(rb'"token_ids":\[([0-9,]+)\]')
_ALL_IDS = re.compile(rb'(?<=token_ids":)\[[0-9,]*\]')
# With token ids asked for, a parser of tool calls or reasoning sends these where it holds text back.
_EMPTY = b'"delta":{},"logprobs":null,"finish_reason":null'
_EMPTY_EVENTS = re.compile(rb"data: [^\n]*" + re.escape(_EMPTY) + rb"[^\n]*\n\n")


class ChunkError(Exception):
    """An event after which a stream cannot be continued; the message says why, as a clause."""


class OtherFieldError(ChunkError):
    """An event with more than text: a part of a tool call, or reasoning."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event. ``body`` is its JSON; empty for ``[DONE]``. ``usage`` alone: the event that counts tokens.

    ``text`` is the answer's, also that of a chat; ``delta`` what a chat's event has, text included.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    delta: Mapping[str, Any] = field(default_factory=dict)
    finish: str | None = None
    prompt: tuple[int, ...] = ()
    usage: Mapping[str, Any] | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False

    @property
    def is_count(self) -> bool:
        """Whether this is the event that counts the tokens of the whole answer."""
        return self.usage is not None and not self.body["choices"]


def without_ids(events: bytes) -> bytes:
    """Return whole events with null in place of all token ids, and without those that have nothing but ids."""
    return _ALL_IDS.sub(b"null", without_empty(events))


def without_empty(events: bytes) -> bytes:
    """Return whole events without those that have neither text nor a part of a call."""
    return _EMPTY_EVENTS.sub(b"", events) if _EMPTY in events else events


def count_ids(events: bytes) -> int:
    """Return the number of tokens in the events, without those of the prompt."""
    return sum(ids.count(b",") + 1 for ids in _OWN_IDS.findall(events))


def own_ids(event: bytes) -> tuple[int, int]:
    """Return where the list of token ids begins and ends in an event without those of the prompt; else -1 and -1."""
    start = event.rfind(_IDS)
    if start < 0:
        return -1, -1
    start += len(_IDS) - 1
    return start, event.find(b"]", start) + 1


def read(event: bytes) -> Chunk:
    """Read one event without the empty line at its end; raises ChunkError."""
    if event == DONE[:-2]:
        return Chunk(done=True)
    if not event.startswith(_DATA):
        return Chunk()  # a comment
    try:
        body = json.loads(event[len(_DATA) :])
        choices = body["choices"]
        usage = body.get("usage")
        if not choices:
            return Chunk(usage=usage, body=body)
        return _read_choice(body, choices[0], usage)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ChunkError(f"an event of its stream has an unknown form ({type(error).__name__})") from error


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any], usage: Mapping[str, Any] | None) -> Chunk:
    delta = {} if "text" in choice else choice["delta"]
    text = choice["text"] if "text" in choice else delta.get("content") or ""
    ids = choice.get("token_ids")
    if ids is None and (text or other_fields(delta)):
        raise ChunkError("its stream has text without token ids")
    prompt = choice.get("prompt_token_ids") or body.get("prompt_token_ids") or ()
    return Chunk(
        ids=tuple(ids or ()),
        text=text,
        delta=delta,
        finish=choice.get("finish_reason"),
        prompt=tuple(prompt),
        usage=usage,
        body=body,
    )


def other_fields(delta: Mapping[str, Any]) -> list[str]:
    """Return the fields of a chat's event beside its text: reasoning, parts of tool calls."""
    return [name for name, value in delta.items() if name not in ("role", "content") and value]


def write(body: Mapping[str, Any]) -> bytes:
    """Return the event in the engine's own spelling."""
    return _DATA + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + END

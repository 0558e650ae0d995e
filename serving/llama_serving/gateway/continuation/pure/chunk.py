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
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DONE: Final = b"data: [DONE]\n\n"
END: Final = b"\n\n"
_DATA = b"data: "
#: Bytes of the longest event behind the first, which has the prompt.
LONGEST: Final = 1 << 20
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
        _check_usage(usage)
        if choices == []:
            return Chunk(usage=usage, body=body)
        (choice,) = choices
        return _read_choice(body, choice, usage)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ChunkError(f"an event of its stream has an unknown form ({type(error).__name__})") from error


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any], usage: Mapping[str, Any] | None) -> Chunk:
    delta = {} if "text" in choice else choice["delta"]
    text = choice["text"] if "text" in choice else delta.get("content") or ""
    finish, ids = choice.get("finish_reason"), choice.get("token_ids")
    if not isinstance(text, str) or not isinstance(finish, str | None):
        raise TypeError("text is text")
    _check_calls(delta.get("tool_calls") or [])
    if ids is None and (text or other_fields(delta)):
        raise ChunkError("its stream has text without token ids")
    prompt = choice.get("prompt_token_ids") or body.get("prompt_token_ids") or []
    return Chunk(
        ids=_tokens(ids or []),
        text=text,
        delta=delta,
        finish=finish,
        prompt=_tokens(prompt),
        usage=usage,
        body=body,
    )


def _tokens(value: Any) -> tuple[int, ...]:
    """Return token ids; raises TypeError and OverflowError where a value is none."""
    if not isinstance(value, list):
        raise TypeError("token ids are a list")
    return tuple(array("I", value))


def _check_usage(usage: Any) -> None:
    """Raise TypeError where the count of tokens is none."""
    if usage is not None and not isinstance(usage.get("completion_tokens", 0), int):
        raise TypeError("tokens are counted in whole numbers")


def _check_calls(calls: Any) -> None:
    """Raise TypeError, KeyError or AttributeError where a part of a tool call is none."""
    for call in calls:
        function = call.get("function") or {}
        texts = (call.get("id"), function.get("name"), function.get("arguments"))
        if not isinstance(call["index"], int) or not all(isinstance(text, str | None) for text in texts):
            raise TypeError("a part of a call has an index, and text")


def other_fields(delta: Mapping[str, Any]) -> list[str]:
    """Return the fields of a chat's event beside its text: reasoning, parts of tool calls."""
    return [name for name, value in delta.items() if name not in ("role", "content") and value]


def write(body: Mapping[str, Any]) -> bytes:
    """Return the event in the engine's own spelling; raises ValueError for a number that JSON has not."""
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which an engine may send escaped
        text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    return _DATA + text + END

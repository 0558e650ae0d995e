"""Whether what an engine sends is what clients can read: a JSON object, or events that have one each.

What is not is the engine's failure, never the client's answer: before the first byte it is tried again elsewhere, and
behind it the stream breaks off, and is continued where it can be.
"""

import json
from typing import Any, Final, NoReturn

from llama_serving.gateway.continuation.pure.chunk import DONE, END

#: Longer ones are looked at from outside only: to parse a megabyte stops everything else for some milliseconds.
PARSED_BELOW: Final = 256 << 10
#: Why the engine of a stream is left, as a clause.
NO_EVENT: Final = "sent what is no event of its stream"
_DATA: Final = "data: "


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)


def is_object(body: bytes) -> bool:
    """Return whether a body is a JSON object in UTF-8; of one above PARSED_BELOW, whether it may be one."""
    try:
        text = body.decode().strip()
        if len(body) > PARSED_BELOW:
            return text.startswith("{") and text.endswith("}")
        return isinstance(_DECODER.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def is_event(event: bytes) -> bool:
    """Return whether an event, without the empty line at its end, is one of vLLM's two streams, or a comment."""
    if event.startswith(b":") or event == DONE[: -len(END)]:
        return b"\n" not in event
    try:
        text = event.decode()
        if not text.startswith(_DATA) or "\n" in text:
            return False
        if len(event) > PARSED_BELOW:
            return text.startswith("{", len(_DATA)) and text.endswith("}")
        body, end = _DECODER.raw_decode(text, len(_DATA))
    except (ValueError, RecursionError):
        return False
    return end == len(text) and isinstance(body, dict) and ("error" in body or _has_choices(body))


def _has_choices(body: dict[str, Any]) -> bool:
    """Return whether there are choices, each with what a chat (delta) or a text sends."""
    choices = body.get("choices")
    return isinstance(choices, list) and all(
        isinstance(one, dict) and (isinstance(one.get("delta"), dict) or isinstance(one.get("text"), str))
        for one in choices
    )


def good_part(events: bytes) -> tuple[bytes, bool]:
    """Return whole events up to the first that is none, or to the end of the stream; and whether that was all."""
    end = 0
    while end < len(events):
        at = events.find(END, end)  # less than nothing: three line ends, of which two ended the event before
        if at < 0 or not is_event(events[end:at]):
            return events[:end], False
        end = at + len(END)
        if events.endswith(DONE, 0, end):
            break
    return events[:end], True

"""Requests to ``/v1/responses`` that need a store: no group has one, and the next request may go to another group.

vLLM ignores ``store: true`` and fields that it does not know, so that a conversation would be answered without its
beginning. A body that is too large to parse goes to the engine, which refuses ``previous_response_id`` too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.gateway.continuation.pure.request import MAX_PARSED

_INPUT: Final = "send all of the conversation in 'input'"
_REFUSED: Final[Mapping[str, str]] = {
    "background": "no group answers in the background; leave it out, and ask for a stream where the answer takes long",
    "conversation": f"no group stores conversations; {_INPUT}",
    "prompt": "no group stores prompts; send 'instructions' and 'input'",
    "previous_response_id": f"no group stores responses; {_INPUT}",
    "store": "no group stores responses; set it to false, or leave it out",
}
_NAMES: Final = tuple(f'"{name}"'.encode() for name in _REFUSED)


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A field of a request that no group can honour; ``message`` is for the client."""

    field: str
    message: str


def refused(body: bytes) -> RefusedField | None:
    """Return the first field that needs a store; None where there is none, or the body is no JSON object."""
    if len(body) > MAX_PARSED or not any(name in body for name in _NAMES):
        return None
    try:
        fields: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None  # the engine reports what is wrong with it
    if not isinstance(fields, dict):
        return None
    name = next((name for name in _REFUSED if fields.get(name) not in (None, False)), None)
    return None if name is None else RefusedField(name, f"'{name}' is not supported: {_REFUSED[name]}")

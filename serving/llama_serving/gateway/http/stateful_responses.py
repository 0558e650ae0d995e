"""Requests to ``/v1/responses`` that need a store: no group has one, and the next request may go to another group.

vLLM ignores ``store: true`` and fields that it does not know, so that a conversation would be answered without its
beginning. A body that is too large to look at goes to the engine, which refuses ``previous_response_id`` too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_serving.gateway.fields.request_fields import RequestFields
from llama_serving.gateway.fields.scanner import TooComplexError

_INPUT: Final = "send all of the conversation in 'input'"
_REFUSED: Final[Mapping[str, str]] = {
    "background": "no group answers in the background; leave it out, and ask for a stream where the answer takes long",
    "conversation": f"no group stores conversations; {_INPUT}",
    "prompt": "no group stores prompts; send 'instructions' and 'input'",
    "previous_response_id": f"no group stores responses; {_INPUT}",
    "store": "no group stores responses; set it to false, or leave it out",
}


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A field of a request that no group can honour; ``message`` is for the client."""

    field: str
    message: str


def refused(fields: RequestFields | None) -> RefusedField | None:
    """Return the first field that needs a store; None where there is none, or the body is no JSON object."""
    name = None if fields is None else next((name for name in _REFUSED if _is_asked(fields, name)), None)
    return None if name is None else RefusedField(name, f"'{name}' is not supported: {_REFUSED[name]}")


def _is_asked(fields: RequestFields, name: str) -> bool:
    try:
        return fields.get(name) not in (None, False)
    except TooComplexError:
        return True  # whatever it is, it is more than false
    except ValueError:
        return False  # the engine reports what is wrong with it

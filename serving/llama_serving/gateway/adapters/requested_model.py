"""The model that a request names, read from its body.

A body of up to ``MAX_PARSED`` bytes is parsed. In a longer one the only field of this name counts: parsing would take
many times its bytes of memory. In JSON a quote within a text has a backslash before it, so ``"model":`` is a field.
"""

import json
import re
from typing import Final

from llama_serving.gateway.continuation.pure.request import MAX_PARSED

LONGEST: Final = 1024  # characters of a name that are looked for in a long body
_FIELD: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.){0,%d}")' % LONGEST)


class SeveralModelsError(Exception):
    """A long body has several fields ``model``, so it is not known which one names the model."""


def requested_model(body: bytes) -> str | None:
    """Return the name; None where there is none that is text. Raises SeveralModelsError."""
    if len(body) > MAX_PARSED:
        return _of_long_body(body)
    if b"model" not in body and b"\\u" not in body:
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None  # the engine reports what is wrong with it
    model = fields.get("model") if isinstance(fields, dict) else None
    return model if isinstance(model, str) else None


def _of_long_body(body: bytes) -> str | None:
    found = [match[1] for match, _ in zip(_FIELD.finditer(body), range(2), strict=False)]
    if len(found) > 1:
        raise SeveralModelsError
    try:
        return str(json.loads(found[0])) if found else None
    except ValueError:
        return None

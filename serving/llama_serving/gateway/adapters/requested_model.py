"""The model that a request names, read from its body.

Of a body that is not looked at (fields/) the only field of this name counts. In JSON a quote within a text has a
backslash before it, so ``"model":`` is a field.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from llama_serving.gateway.fields.request_fields import RequestFields
from llama_serving.gateway.fields.scanner import Body, TooComplexError

LONGEST: Final = 1024  # characters of a name that are looked for in a body that is not read
_NAME: Final = b'"model"'
_FIELD: Final = re.compile(rb'"model"\s{0,64}:\s{0,64}("(?:[^"\\]|\\.){0,%d}")' % LONGEST)
#: Words that are looked at: more of them are no request of anybody.
_MOST_WORDS: Final = 4096


class SeveralModelsError(Exception):
    """A body that is not read has several fields ``model``, so it is not known which one names the model."""


def requested_model(fields: RequestFields | None) -> str | None:
    """Return the name; None where there is none that is text. Raises SeveralModelsError."""
    try:
        model = None if fields is None else fields.get("model")
    except TooComplexError:
        raise SeveralModelsError from None
    except ValueError:
        return None  # the engine reports what is wrong with it
    return model if isinstance(model, str) else None


def model_of_unread(body: Body) -> str | None:
    """Return the name in a body that is not read. Raises SeveralModelsError."""
    found = list(_values(body))
    if len(found) > 1:
        raise SeveralModelsError
    try:
        return str(json.loads(found[0])) if found else None
    except ValueError:
        return None


def _values(body: Body) -> Iterator[bytes]:
    """Yield the values of the first two fields of this name."""
    at, yielded = body.find(_NAME), 0
    for _ in range(_MOST_WORDS):
        if at < 0 or yielded > 1:
            return
        found = _FIELD.match(body, at)
        if found is not None:
            yielded += 1
            yield found[1]
        at = body.find(_NAME, at + len(_NAME))
    raise SeveralModelsError

"""Which model a body names, checked for keys that may not ask for all: what cannot be told is not let through."""

import re
from collections.abc import Callable
from typing import Final

from llama_serving.gateway.access.pure import denied
from llama_serving.gateway.access.visit import Visit
from llama_serving.gateway.fields.scanner import Body

#: The name of the field, each letter of it plain or escaped; plain alone is left out by the check below.
_SPELLED: Final = re.compile(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"\s*:',
)
_PLAIN: Final = b'"model"'


def check_model(visit: Visit, body: Body, *, base: str, encoded: bool, read: Callable[[], str | None]) -> None:
    """Note the model of a request and check that its key may ask for it. Raises AccessDeniedError.

    ``base``: name of the base, which answers where none is named; empty: not known. ``encoded``: the body has a
    content-encoding. ``read``: returns the model that the body names.
    """
    if not visit.models:
        return
    name = visit.account.name
    if encoded or any(not found[0].startswith(_PLAIN) for found in _SPELLED.finditer(body)):
        raise denied.model_unknown(name)
    model = read() or base
    if not model:
        raise denied.model_unknown(name)
    if not visit.may_see(model):
        raise denied.model_denied(name, model)
    visit.model = model

"""The verdict on an answer of the API server: nothing, ``Retry`` or ``Rejected``. Nobody else reads status codes."""

import json
from collections.abc import Mapping
from typing import Final

from llama_operator.bounds.json_text import JsonLimits, check_json
from llama_operator.ports import Forbidden, Rejected, Retry
from llama_serving.config.error_text import status_text
from llama_serving.config.http_status import RETRIED_BY_API_CLIENTS
from llama_serving.config.wording import clause

#: A metav1.Status: one sentence, and what it says of fields.
_STATUS: Final = JsonLimits(size=256 << 10, elements=10_000)
LONGEST = 60.0  # seconds that an answer may make us wait
# A 409 that stays: an apply without force met fields of another manager, so an object of somebody else.
_MANAGERS = "FieldManagerConflict"


def judge(status: int, headers: Mapping[str, str], body: str) -> None:
    """Return for 2xx; raise Retry or Rejected with the API server's own sentence for the rest."""
    if 200 <= status <= 299:
        return
    message = message_of(body) or f"it answers {status_text(status)}"
    if status in RETRIED_BY_API_CLIENTS and _MANAGERS not in body:
        raise Retry(message, after=retry_after(headers))
    raise (Forbidden if status == 403 else Rejected)(message)


def is_of_another(status: int, body: str) -> bool:
    """Tell whether a patch named the uid of an object that another one of its name has replaced."""
    # A delete answers 409 instead.
    return status == 422 and '"field":"metadata.uid"' in body


def message_of(body: str) -> str:
    """Return ``message`` of a metav1.Status; empty where something else came, such as a proxy's page."""
    try:
        check_json(body.encode(errors="replace"), _STATUS)
        return clause(str(json.loads(body)["message"]))
    except (ValueError, KeyError, TypeError):
        return ""


def retry_after(headers: Mapping[str, str], default: float = 1.0) -> float:
    """Return the seconds that the server asks us to wait, at most LONGEST of them."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST) if text.isascii() and text.isdecimal() else default

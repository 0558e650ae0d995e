"""Parts of Kubernetes objects that several views read: owners, specs, times, conditions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from llama_serving.config.error_text import rule_words

Spec = TypeVar("Spec", bound=BaseModel)

_SHOWN: Final = 200  # characters of a value in a message
_TIME: Final = 40  # characters of a time


def owned_by(child: Mapping[str, Any], uid: str) -> bool:
    """Return whether an object names the one with this uid among its owners."""
    return any(owner.get("uid") == uid for owner in child["metadata"].get("ownerReferences") or ())


def stored_spec(kind: type[Spec], body: Mapping[str, Any], *, remedy: str) -> tuple[Spec | None, str]:
    """Return the spec of an object; None, and why, when rules refuse it.

    Rules of the CRD refuse only what was stored under older ones. JSON in text (``value_error``) is checked only here.
    """
    try:
        return kind.model_validate(body.get("spec") or {}), ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("spec", *(str(part) for part in first["loc"])))
        why = remedy if first["type"] == "value_error" else f"{remedy}, it was stored under older rules"
        shown = repr(first["input"])
        cut = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return None, f"{where} is {cut}: it {rule_words(first)}; {why}"


def parse_time(text: str | None) -> datetime | None:
    """Parse RFC 3339 as the API server writes it; None for None, and for what an annotation has instead."""
    if not text or len(text) > _TIME:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else None


def is_true(condition: Mapping[str, Any] | None) -> bool:
    """Return whether the condition is there and true."""
    return condition is not None and condition.get("status") == "True"


def since(condition: Mapping[str, Any] | None) -> datetime | None:
    """Return when the condition became what it is; None where it is not there."""
    return parse_time(condition.get("lastTransitionTime")) if condition else None

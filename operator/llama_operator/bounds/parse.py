"""A model of pydantic from JSON of others, and the one clause that says why there is none."""

from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from llama_operator.bounds.json_text import JsonLimits, check_json
from llama_serving.config.error_text import error_text, rule_text

Parsed = TypeVar("Parsed", bound=BaseModel)

#: Errors of a model that are looked at: each is an object with the path to its field.
_LOOKED_AT: Final = 100


class UnreadableError(ValueError):
    """It is no such JSON; the text names field and rule, as a clause whose subject is a field or the answer."""


def parse_json(kind: type[Parsed], text: bytes, limits: JsonLimits) -> Parsed:
    """Parse JSON that somebody else wrote.

    Raises:
        OverLimitError: it is larger than a limit; nothing of it was parsed.
        UnreadableError: it is something else.
    """
    check_json(text, limits)
    try:
        return kind.model_validate_json(text.decode())
    except UnicodeDecodeError as error:
        raise UnreadableError(error_text(error)) from None
    except ValidationError as error:
        raise UnreadableError(_first(error)) from None  # the error keeps what it was made of


def _first(error: ValidationError) -> str:
    if (count := error.error_count()) > _LOOKED_AT:
        return f"the answer breaks {count} rules"
    return rule_text(error.errors(include_input=False, include_url=False)[0])

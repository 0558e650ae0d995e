"""JSON and JSON schemas from users and engines, checked without a trip to anywhere.

A schema is draft 2020-12 unless its ``$schema`` says another. References lead to places inside of it; one that leads
elsewhere is an error, and nothing is fetched. JSON is that of RFC 8259: no NaN, no Infinity.
"""

import json
import re
from typing import Any, Final

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError, best_match  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import UnknownDialect

_SHOWN: Final = 200  # characters of what the validator says: it quotes the value
_UNUSABLE: Final = (re.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UnknownDialect)
_NOTHING_ELSE: Final[Registry[Any]] = Registry()


class NotJsonError(ValueError):
    """A text is no JSON; the error says what is wrong with it."""


def load_json(text: str) -> Any:
    """Parse a text.

    Raises:
        NotJsonError: it is no JSON, or nested deeper than Python parses.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise NotJsonError("it is nested too deeply") from error
    except ValueError as error:
        raise NotJsonError(f"it is no JSON: {error}") from error


def schema_problem(schema: Any, value: Any) -> str:
    """Return what is wrong with a value, or with the schema itself; empty where it fits."""
    if not isinstance(schema, dict):
        return "the schema is no JSON object"
    if not isinstance(schema.get("$schema", ""), str):
        return "the schema cannot be used: its $schema is no text"
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        error = best_match(kind(schema, registry=_NOTHING_ELSE).iter_errors(value))
    except SchemaError as error:
        return f"the schema is not valid at {error.json_path}: {error.message[:_SHOWN]}"
    except Unresolvable as error:
        return f"the schema refers to {error.ref!r}, which is not in it"
    except RecursionError:
        return "the schema or the value is nested too deeply"
    except _UNUSABLE as error:  # in a schema that its own schema admits
        return f"the schema cannot be used: {str(error)[:_SHOWN]}"
    return "" if error is None else f"{error.json_path}: {error.message[:_SHOWN]}"


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it has the number {word}")

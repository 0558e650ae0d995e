"""Is a JSON schema one whose grammar gives answers that it validates, at a bounded cost? Pure.

A keyword that the grammar would ignore is refused: the answer would look constrained and not be. So is a schema that no
finite answer satisfies, because its answer would never end.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.cell.replica.structured.finite import is_finite
from llama_serving.cell.replica.structured.limits import (
    ALTERNATIVES,
    OPTIONAL,
    PROPERTIES,
    REPEATS,
    BadSchemaError,
    check_size,
    place_of,
)
from llama_serving.cell.replica.structured.pattern import check_pattern
from llama_serving.cell.replica.structured.walk import list_of, parts_of, target_of

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
#: Of xgrammar 0.2.8, ``backend_xgrammar.STRING_SUPPORTED_FORMATS`` of vLLM 0.32.
_FORMATS: Final = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "json-pointer",
        "relative-json-pointer",
        "time",
        "uri",
        "uri-reference",
        "uri-template",
        "uuid",
    }
)
#: Ignored by xgrammar 0.2.8, or refused by vLLM 0.32 without saying where.
_IGNORED: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "contains",
        "contentSchema",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "multipleOf",
        "not",
        "then",
        "unevaluatedItems",
        "uniqueItems",
    }
)
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_PAIRS: Final = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)


@dataclass
class _Counts:
    properties: int = 0
    alternatives: int = 0


def check_schema(schema: Any, place: str) -> None:
    """Check one schema, ``place`` is its name in the request; raises BadSchemaError."""
    check_size(schema, place)
    counts = _Counts()
    places = list(parts_of(schema, place))
    for where, part in places:
        _check_part(part, where, counts)
    parts = [part for _, part in places]
    known = {id(part) for part in parts}
    for where, part in places:
        if "$ref" in part:
            _follow(schema, part, where, known=known)
    if not is_finite(schema, parts):
        raise BadSchemaError(place, "no finite answer satisfies it: an object requires itself")


def _check_part(part: Mapping[str, Any], place: str, counts: _Counts) -> None:
    for name in sorted(_IGNORED & part.keys()):
        raise BadSchemaError(place_of(place, name), f"the grammar cannot keep {name!r}; leave it out")
    types = part.get("type", [])
    for kind in [types] if isinstance(types, str) else types if isinstance(types, list) else [types]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise BadSchemaError(place_of(place, "type"), f"{kind!r:.60} is not one of {', '.join(sorted(_TYPES))}")
    for check in (_check_counts, _check_strings, _check_object, _check_alternatives):
        check(part, place)
    counts.properties += len(part.get("properties", {}))
    counts.alternatives += sum(len(list_of(part, name, place)) for name in ("enum", "anyOf", "oneOf"))
    if counts.properties > PROPERTIES:
        raise BadSchemaError(place, f"more than {PROPERTIES} properties up to here")
    if counts.alternatives > ALTERNATIVES:
        raise BadSchemaError(place, f"more than {ALTERNATIVES} enum values and alternatives up to here")


def _check_counts(part: Mapping[str, Any], place: str) -> None:
    for name in _COUNTS:
        value = part.get(name, 0)
        if type(value) is not int or value < 0:
            raise BadSchemaError(place_of(place, name), f"{value!r:.60} is not a count")
        if value > REPEATS:
            raise BadSchemaError(place_of(place, name), f"{value} is more than {REPEATS}; leave it out")
    for name in _BOUNDS:
        value = part.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadSchemaError(place_of(place, name), f"{value!r:.60} is not a number")
    for low, high in _PAIRS:
        if low in part and high in part and part[low] > part[high]:
            raise BadSchemaError(place_of(place, high), f"{part[high]} is less than {low}, {part[low]}")


def _check_strings(part: Mapping[str, Any], place: str) -> None:
    if "pattern" in part:
        check_pattern(part["pattern"], place_of(place, "pattern"))
    for name in part.get("patternProperties", {}):
        check_pattern(name, place_of(place, "patternProperties"))
    if "format" in part and _may_be(part, "string") and str(part["format"]) not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise BadSchemaError(place_of(place, "format"), f"{part['format']!r:.60} is not one of {known}; leave it out")
    if ("pattern" in part or "format" in part) and ("minLength" in part or "maxLength" in part):
        raise BadSchemaError(place, "the grammar keeps either pattern or format, or a length, not both")


def _check_object(part: Mapping[str, Any], place: str) -> None:
    required, known = part.get("required", []), part.get("properties", {})
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise BadSchemaError(place_of(place, "required"), "is a list of names")
    optional = len(known.keys() - set(required))
    if optional > OPTIONAL:
        why = f"{optional} of its properties are not required, {OPTIONAL} may be: require some, or divide the object"
        raise BadSchemaError(place_of(place, "properties"), why)
    unknown = [name for name in required if name not in known]
    if unknown and part.get("additionalProperties") is False:
        raise BadSchemaError(place_of(place, "required"), f"{unknown[0]!r:.60} is not in properties")
    if "patternProperties" in part and (known or len(part["patternProperties"]) > 1):
        raise BadSchemaError(place_of(place, "patternProperties"), "the grammar keeps one of them, and no properties")
    if "propertyNames" in part and (known or "patternProperties" in part):
        raise BadSchemaError(place_of(place, "propertyNames"), "the grammar cannot keep it beside properties")


def _check_alternatives(part: Mapping[str, Any], place: str) -> None:
    if len(list_of(part, "allOf", place)) > 1:
        raise BadSchemaError(place_of(place, "allOf"), "the grammar keeps one schema of it; merge them")


def _follow(root: Any, part: Mapping[str, Any], place: str, *, known: Container[int]) -> None:
    """Follow a reference to a schema that is none itself; raises BadSchemaError for one that leads nowhere."""
    passed: set[str] = set()
    while isinstance(part, dict) and "$ref" in part:
        name = part["$ref"]
        part = target_of(root, name, place_of(place, "$ref"))
        if name in passed:
            raise BadSchemaError(place_of(place, "$ref"), f"{name!r:.100} leads back to itself")
        passed.add(name)
        if isinstance(part, dict) and id(part) not in known:
            raise BadSchemaError(place_of(place, "$ref"), f"{name!r:.100} is no place for a schema; use $defs")


def _may_be(part: Mapping[str, Any], kind: str) -> bool:
    types = part.get("type", kind)
    return kind in ([types] if isinstance(types, str) else types)

"""The schemas within a JSON schema, and where its references lead. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llama_serving.cell.replica.structured.limits import BadSchemaError, place_of

_SINGLE: Final = ("items", "additionalProperties", "unevaluatedProperties", "propertyNames")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions")


def parts_of(schema: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema within ``schema``, itself first, with its place; raises BadSchemaError for what is none."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise BadSchemaError(place, f"a schema is an object or a boolean, not {_kind(schema)}")
    yield place, schema
    for name, part in _within(schema, place):
        yield from parts_of(part, name)


def _within(schema: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for name in _SINGLE:
        if isinstance(schema.get(name), list):
            raise BadSchemaError(place_of(place, name), "is one schema; a list of them is named prefixItems")
        if schema.get(name) is not None:
            yield place_of(place, name), schema[name]
    for name in _LISTS:
        for number, part in enumerate(list_of(schema, name, place)):
            yield place_of(place_of(place, name), number), part
    for name in _MAPS:
        for key, part in _map_of(schema, name, place).items():
            yield place_of(place_of(place, name), key), part


def list_of(schema: Mapping[str, Any], name: str, place: str) -> list[Any]:
    """Return the list under ``name``, an empty one where there is none; raises BadSchemaError for anything else."""
    value = schema.get(name, [])
    if not isinstance(value, list) or (name in schema and not value):
        raise BadSchemaError(place_of(place, name), "is a list that is not empty")
    return value


def _map_of(schema: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    value = schema.get(name, {})
    if not isinstance(value, dict):
        raise BadSchemaError(place_of(place, name), f"is an object of schemas, not {_kind(value)}")
    return value


def target_of(root: Any, name: Any, place: str) -> Any:
    """Return the schema to which a reference leads; raises BadSchemaError where it leads nowhere."""
    if not isinstance(name, str) or not (name == "#" or name.startswith("#/")):
        raise BadSchemaError(place, f"{name!r:.100} is not a place in this schema (#/...)")
    found = root
    for step in name.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        else:
            raise BadSchemaError(place, f"{name!r:.100} is not in this schema")
    if not isinstance(found, dict | bool):
        raise BadSchemaError(place, f"{name!r:.100} is not a schema")
    return found


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), f"{value!r:.60}")

"""Has a JSON schema a finite answer? An object that requires itself has none, and its answer would never end. Pure."""

import itertools
from collections import defaultdict, deque
from collections.abc import Container, Mapping, Sequence
from typing import Any

from llama_serving.cell.replica.structured.walk import target_of


def is_finite(root: Any, parts: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some finite answer satisfies the schema: the least fixed point over its parts.

    A part is finite when everything that it requires is. One that is found to be so has those looked at again that
    mention it, so each mention costs one look.
    """
    needs = {id(part): _needs(root, part) for part in parts}
    mentioned_by: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for part in parts:
        needed, options = needs[id(part)]
        for other in itertools.chain(needed, *options):
            mentioned_by[id(other)].append(part)
    found: set[int] = set()
    waiting = deque(parts)
    while waiting:
        part = waiting.popleft()
        if id(part) not in found and _holds(*needs[id(part)], found):
            found.add(id(part))
            waiting.extend(mentioned_by[id(part)])
    return not isinstance(root, dict) or id(root) in found


def _needs(root: Any, schema: Mapping[str, Any]) -> tuple[list[Any], list[list[Any]]]:
    """Return what has to be finite for ``schema`` to be so: all of the first list, one of each of the others."""
    known = schema.get("properties", {})
    needed = [known[name] for name in schema.get("required", []) if name in known]
    if schema.get("minItems", 0) > 0:
        first = schema.get("prefixItems", [])
        needed += first[: schema["minItems"]] if first else [schema.get("items", True)]
    needed += schema.get("allOf", [])
    if "$ref" in schema:
        needed.append(target_of(root, schema["$ref"], ""))
    return needed, [schema[name] for name in ("anyOf", "oneOf") if name in schema]


def _holds(needed: Sequence[Any], options: Sequence[Sequence[Any]], found: Container[int]) -> bool:
    def is_found(schema: Any) -> bool:
        return not isinstance(schema, dict) or id(schema) in found

    return all(map(is_found, needed)) and all(any(map(is_found, option)) for option in options)

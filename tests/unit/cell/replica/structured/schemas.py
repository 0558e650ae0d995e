"""A corpus of JSON schemas, each made from a seed: nested, enums, unicode, recursive, alternatives, patterns, bounds.

Strings and lists are short, so that a model that says anything that the grammar allows comes to an end.
"""

import random
from collections.abc import Callable
from typing import Any

NAMES = ("name", "größe", "ім'я", "नाम", "ключ", "a b", 'quo"te', "tags", "id", "x-1", "🙂")
WORDS = ("red", "grün", "наказ", "नमस्ते", "สวัสดี", "🙂", 'a "quoted" one', "back\\slash", "")
PATTERNS = ("^[a-z]{2,4}$", "^(yes|no)$", "^[0-9]{3}-[0-9]{2}$", "^#[0-9a-f]{6}$")
FORMATS = ("date", "uuid", "ipv4", "time")


def schema_of(seed: int) -> dict[str, Any]:
    """Return the schema of a seed: an object at its root, as OpenAI's API wants it."""
    make = random.Random(seed)
    if seed % 8 == 7:
        return _recursive(make)
    return _object(make, depth=make.randint(1, 3))


def _any(make: random.Random, depth: int) -> dict[str, Any]:
    simple: tuple[Callable[[random.Random], dict[str, Any]], ...] = (_string, _number, _enum, _const, _flag)
    if depth <= 0 or make.random() < 0.4:
        return make.choice(simple)(make)
    nested = make.choice((_object, _array, _alternatives))
    return nested(make, depth=depth - 1)


def _object(make: random.Random, *, depth: int) -> dict[str, Any]:
    names = make.sample(NAMES, make.randint(1, 4))
    required = [name for name in names if make.random() < 0.8]
    made = {"type": "object", "properties": {name: _any(make, depth) for name in names}, "required": required}
    return {**made, "additionalProperties": False}


def _array(make: random.Random, *, depth: int) -> dict[str, Any]:
    least = make.randint(0, 2)
    return {"type": "array", "items": _any(make, depth), "minItems": least, "maxItems": least + make.randint(0, 2)}


def _alternatives(make: random.Random, *, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(make, depth) for _ in range(make.randint(2, 3))]}


def _string(make: random.Random) -> dict[str, Any]:
    kind = make.random()
    if kind < 0.3:
        return {"type": "string", "pattern": make.choice(PATTERNS)}
    if kind < 0.5:
        return {"type": "string", "format": make.choice(FORMATS)}
    return {"type": "string", "maxLength": make.randint(1, 12)}


def _number(make: random.Random) -> dict[str, Any]:
    low = make.randint(-1000, 1000)
    return {"type": "integer", "minimum": low, "maximum": low + make.randint(0, 500)}


def _enum(make: random.Random) -> dict[str, Any]:
    values: list[Any] = [*make.sample(WORDS, make.randint(1, 4)), *make.sample([None, True, 7, -0.5], 2)]
    return {"enum": values}


def _const(make: random.Random) -> dict[str, Any]:
    return {"const": make.choice([*WORDS, 12, None, {"a": [1, "é"]}])}


def _flag(make: random.Random) -> dict[str, Any]:
    return {"type": make.choice(["boolean", "null"])}


def _recursive(make: random.Random) -> dict[str, Any]:
    """A tree: each node has a value and perhaps one node below it."""
    node = {
        "type": "object",
        "properties": {"value": _any(make, 0), "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}

"""What a schema may cost.

vLLM reads a schema on the event loop of the replica, and compiles its grammar on half of the leader's cores: native
code that nobody can stop. One request must not hold up the others, so sizes are bounded first. What the limits allow
takes at most 30 ms to read and 4.4 s of CPU to compile (docs/benchmarks/2026-11-29-structured.md).
"""

from typing import Any, Final

BYTES: Final = 128 << 10  # of one schema, regular expression, grammar or list of choices, as JSON
DEPTH: Final = 32  # objects and lists within one another
VALUES: Final = 10_000  # objects, lists and other values of one schema
PROPERTIES: Final = 500  # of all objects of one schema together
OPTIONAL: Final = 100  # of one object, not in ``required``: the grammar grows with their square
ALTERNATIVES: Final = 1_000  # enum values and anyOf of one schema together, and choices
REPEATS: Final = 1_000  # minLength, minItems and the like: the grammar grows with them
PATTERN: Final = 1_000  # characters of one regular expression within a schema


class BadSchemaError(Exception):
    """What is wrong with a schema: ``place`` is the path of names to it, the message a clause."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place


def place_of(place: str, name: object) -> str:
    """Return the path to ``name`` within ``place``, cut where it gets long."""
    return f"{place}.{name}"[:500]


def check_size(value: Any, place: str, *, depth: int = 0) -> int:
    """Return the number of values within ``value``; raises BadSchemaError where it is too deep or has too many."""
    if depth > DEPTH:
        raise BadSchemaError(place, f"nested more than {DEPTH} levels deep")
    within = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    count = 1
    for name, item in within:
        count += check_size(item, place_of(place, name), depth=depth + 1)
        if count > VALUES:
            raise BadSchemaError(place, f"has more than {VALUES} values")
    return count

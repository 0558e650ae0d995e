"""The check of a JSON value against a schema that somebody wrote."""

import json
import socket
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.cell.policy.json_schema import NotJsonError, load_json, schema_problem

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["id"]}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({}, 5, ""),
        ({"type": "string"}, "a", ""),
        ({"type": "string"}, 5, "$: 5 is not of type 'string'"),
        ({"enum": ["red", "green"]}, "blue", "$: 'blue' is not one of ['red', 'green']"),
        (TREE, {"id": 1, "next": {"id": 2}}, ""),
        (TREE, {"id": 1, "next": {}}, "$.next: 'id' is a required property"),
        ({"properties": {"städte": {"minItems": 2}}}, {"städte": ["Köln"]}, "$['städte']: ['Köln'] is too short"),
        ({"additionalProperties": False}, {"a": 1}, "$: Additional properties are not allowed ('a' was unexpected)"),
        ({"type": "strin"}, 5, "the schema is not valid at $.type: 'strin' is not valid under any"),
        ({"$ref": "#/$defs/none"}, 5, "the schema refers to '/$defs/none', which is not in it"),
        ({"$ref": "http://example.com/a.json"}, 5, "the schema refers to 'http://example.com/a.json', which is not in"),
        ({"$ref": "#"}, 5, "the schema or the value is nested too deeply"),
        ({"pattern": "("}, "a", "the schema is not valid at $.pattern: '(' is not a 'regex'"),
        ({"$schema": []}, 5, "the schema cannot be used: its $schema is no text"),
        ({"$schema": True}, 5, "the schema cannot be used: its $schema is no text"),
        ({"$schema": "http://["}, 5, "the schema cannot be used"),
        ([], 5, "the schema is no JSON object"),
    ],
)
def test_a_schema(*, schema: Any, value: Any, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a schema was looked for somewhere else")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    found = schema_problem(schema, value)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "{'a': 1}", "1 2", "[" * 5000, '{"a": 1,}'])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(NotJsonError):
        load_json(text)


WORDS = st.sampled_from(
    ["type", "$ref", "$schema", "$id", "pattern", "properties", "items", "anyOf", "not", "multipleOf", "$defs",
     "minimum", "patternProperties", "string", "object", "#", "#/$defs/a", "a", "(", "[", "$dynamicRef", "$anchor"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
SCHEMAS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=10
)


@given(SCHEMAS, SCHEMAS)
def test_no_schema_brings_the_checker_down(schema: Any, value: Any) -> None:
    assert len(schema_problem(json.loads(json.dumps(schema)), value)) < 1000

"""Which schemas get a grammar, and what is said of the others: the place, and a sentence."""

import contextlib
import json
import time
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.cell.replica.structured.limits import BadSchemaError
from llama_serving.cell.replica.structured.pattern import check_pattern
from llama_serving.cell.replica.structured.schema import check_schema
from tests.unit.cell.replica.structured.schemas import schema_of

CORPUS = range(200)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def optional(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(count)}}


def loop(**more: Any) -> dict[str, Any]:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, **more}
    return {"$ref": "#/$defs/n", "$defs": {"n": node}}


@pytest.mark.parametrize("seed", CORPUS)
def test_the_corpus_is_taken(seed: int) -> None:
    schema = schema_of(seed)
    jsonschema.Draft202012Validator.check_schema(schema)
    check_schema(schema, "schema")


def test_the_corpus_has_everything() -> None:
    text = json.dumps([schema_of(seed) for seed in CORPUS], ensure_ascii=False)
    for word in (
        "$ref",
        "anyOf",
        "enum",
        "const",
        "pattern",
        "format",
        "minimum",
        "minItems",
        "größe",
        "नाम",
        "🙂",
        "null",
    ):
        assert word in text, word
    assert len({json.dumps(schema_of(seed)) for seed in CORPUS}) > len(CORPUS) * 3 / 4


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        loop(),  # the next one is not required
        {"$ref": "#", "properties": {}} | {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}},
        nested(10),
        optional(100),
        {"enum": [f"value {number}" for number in range(1000)]},
        {"type": ["string", "null"], "description": "of pydantic", "title": "T", "default": None, "examples": [1]},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        {"properties": {"a/b": {"type": "null"}, "c": {"$ref": "#/properties/a~1b"}}},
    ],
)
def test_what_is_taken(schema: Any) -> None:
    check_schema(schema, "schema")


@pytest.mark.parametrize(
    ("schema", "place", "why"),
    [
        ([1], "s", "a schema is an object or a boolean, not a list"),
        ("x", "s", "not a text"),
        ({"type": "strng"}, "s.type", "'strng' is not one of array, boolean"),
        ({"type": {"a": 1}}, "s.type", "is not one of"),
        ({"properties": [1]}, "s.properties", "is an object of schemas, not a list"),
        ({"properties": {"a": 3}}, "s.properties.a", "a schema is an object or a boolean, not 3"),
        ({"required": "a"}, "s.required", "is a list of names"),
        ({"required": [1]}, "s.required", "is a list of names"),
        ({"required": ["z"], "additionalProperties": False}, "s.required", "'z' is not in properties"),
        ({"enum": []}, "s.enum", "is a list that is not empty"),
        ({"anyOf": {}}, "s.anyOf", "is a list that is not empty"),
        ({"items": [{}]}, "s.items", "named prefixItems"),
        ({"properties": {"a": {"not": {}}}}, "s.properties.a.not", "the grammar cannot keep 'not'"),
        ({"items": {"multipleOf": 2}}, "s.items.multipleOf", "the grammar cannot keep"),
        ({"uniqueItems": True}, "s.uniqueItems", "leave it out"),
        ({"allOf": [{}, {}]}, "s.allOf", "merge them"),
        ({"format": []}, "s.format", "[] is not one of date"),
        ({"type": "string", "format": "phone"}, "s.format", "'phone' is not one of date"),
        ({"pattern": "a", "maxLength": 3}, "s", "either pattern or format, or a length"),
        ({"minLength": -1}, "s.minLength", "-1 is not a count"),
        ({"minLength": 3, "maxLength": 2}, "s.maxLength", "2 is less than minLength, 3"),
        ({"minimum": 5, "maximum": 1}, "s.maximum", "1 is less than minimum, 5"),
        ({"minimum": "5"}, "s.minimum", "'5' is not a number"),
        ({"maxLength": 100_000}, "s.maxLength", "100000 is more than 1000"),
        ({"minItems": 10**9}, "s.minItems", "is more than 1000"),
        ({"pattern": "([a-z"}, "s.pattern", "not a regular expression"),
        ({"pattern": "^(?=a)b"}, "s.pattern", "looks ahead or behind"),
        ({"pattern": r"(a)\1"}, "s.pattern", "refers back"),
        ({"pattern": 7}, "s.pattern", "a pattern is a text"),
        ({"pattern": "a{5000}"}, "s.pattern", "5000 parts"),
        ({"pattern": "([a-z]{1,300}){1,300}"}, "s.pattern", "90000 parts"),
        ({"patternProperties": {"a": {}, "b": {}}}, "s.patternProperties", "keeps one of them"),
        ({"$ref": "http://x/y"}, "s.$ref", "is not a place in this schema"),
        ({"$ref": "#/$defs/none"}, "s.$ref", "is not in this schema"),
        ({"$ref": 5}, "s.$ref", "is not a place in this schema"),
        ({"$ref": "#"}, "s.$ref", "leads back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "s.$ref", "leads back to itself"),
        ({"$ref": "#/x", "x": {"type": "nonsense"}}, "s.$ref", "is no place for a schema"),
        ({"$ref": "#/enum/0", "enum": [1]}, "s.$ref", "is not a schema"),
        (loop(required=["next"]), "s", "no finite answer satisfies it"),
        (
            {"type": "array", "minItems": 1, "items": loop(required=["next"])} | loop(required=["next"]),
            "s",
            "no finite",
        ),
        (nested(40), "s.properties.a", "nested more than 32 levels deep"),
        (optional(101), "s.properties", "101 of its properties are not required, 100 may be"),
        ({"enum": list(range(1001))}, "s", "more than 1000 enum values"),
        ({"x": list(range(20_000))}, "s.x", "more than 10000 values"),
        (
            {"anyOf": [{"required": [f"p{n}" for n in range(90)], **optional(90)}] * 9},
            "s.anyOf.5",
            "more than 500 prop",
        ),
    ],
)
def test_what_is_refused(schema: Any, place: str, why: str) -> None:
    with pytest.raises(BadSchemaError) as raised:
        check_schema(schema, "s")
    assert raised.value.place.startswith(place)
    assert why in str(raised.value)
    assert len(str(raised.value)) < 800


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                """type properties items anyOf $ref $defs enum required pattern minItems maxItems minimum format
                additionalProperties allOf patternProperties a""".split()  # noqa: SIM905
            ),
            inner | st.sampled_from(["#", "#/$defs/a", "object", "array", "string"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_nothing_but_a_sentence_comes_of_any_value(value: Any) -> None:
    with contextlib.suppress(BadSchemaError):  # anything else would be answered 500
        check_schema(value, "s")


def test_a_long_chain_of_requirements_is_decided_in_a_moment() -> None:
    """Each needs the next, named in the order that is worst for looking at them one after the other."""
    count = 1500
    chain = {f"d{n}": {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(count)}
    began = time.process_time()
    check_schema({"$ref": "#/$defs/d0", "$defs": {**chain, f"d{count}": {"type": "null"}}}, "s")
    with pytest.raises(BadSchemaError, match="no finite answer"):
        check_schema({"$ref": "#/$defs/d0", "$defs": {**chain, f"d{count}": {"$ref": "#/$defs/d0"}}}, "s")
    assert time.process_time() - began < 20, "quadratic"


@pytest.mark.parametrize(
    "pattern", ["^(a+)+b$", "[a-z]{1,1000}", r"\d{3}-\w+", "(?:a|b)*", "(?<year>[0-9]{4})", "[[a]", "é|🙂", ""]
)
def test_patterns_that_are_taken(pattern: str) -> None:
    check_pattern(pattern, "p")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab(){}[]|*+?^$\\.0123456789,:<=!P", max_size=30))
def test_nothing_but_a_sentence_comes_of_any_pattern(pattern: str) -> None:
    with contextlib.suppress(BadSchemaError):
        check_pattern(pattern, "p")

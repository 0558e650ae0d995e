"""What a grammar allows as a text in JSON: never what a reader of JSON refuses."""

import json
import string
from typing import Any

import pytest

pytestmark = [pytest.mark.serving, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

xgrammar = pytest.importorskip("xgrammar", reason="needs the serving environment")

BOUNDED = {"type": "string", "maxLength": 5}
SCHEMAS: tuple[dict[str, Any], ...] = (
    BOUNDED,
    {"type": "string", "minLength": 1},
    {"type": "object", "properties": {"a": BOUNDED}, "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": BOUNDED, "minItems": 1},
    {"type": "string"},
)
TAGS = {
    "type": "structural_tag",
    "format": {"type": "tag", "begin": "<", "end": ">", "content": {"type": "json_schema", "json_schema": BOUNDED}},
}
CONTROL = tuple(chr(code) for code in range(0x20))
#: UTF-8 has none of these: surrogates, too long a form, beyond U+10FFFF, half a character.
NO_TEXT = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xc3")


@pytest.fixture(scope="module")
def compiler() -> Any:
    from llama_serving.engine.json_strings import correct_json_strings

    correct_json_strings()
    correct_json_strings()  # a second scheduler in the process changes nothing
    words = [*string.printable, *CONTROL, *"é漢größeключनामé🙂ÿ"]
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo(sorted(set(words)), stop_token_ids=[0]))


def accepts(grammar: Any, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and bool(matcher.is_terminated())


def wrapped(schema: dict[str, Any], text: str) -> str:
    """A JSON text of the schema, written without escapes."""
    return {"object": f'{{"a": "{text}"}}', "array": f'["{text}"]'}.get(schema["type"], f'"{text}"')


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_no_text_holds_a_control_character(compiler: Any, schema: dict[str, Any]) -> None:
    grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
    assert accepts(grammar, wrapped(schema, "é漢x"))
    assert [char for char in CONTROL if accepts(grammar, wrapped(schema, char))] == []


def test_a_tool_call_has_few_spaces(compiler: Any) -> None:
    pair = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["a", "b"]}
    content = {"type": "json_schema", "json_schema": {**pair, "additionalProperties": False}}
    tag = {"type": "tag", "begin": "<", "end": ">", "content": content}
    grammar = compiler.compile_structural_tag(json.dumps({"type": "structural_tag", "format": tag}))
    for said in ('{"a": 1, "b": 2}', '{"a":1,"b":2}'):
        assert accepts(grammar, f"<{said}>"), said
    for said in ('{"a":  1, "b": 2}', '{\n\t"a": 1, "b": 2}', '{"a" \t: 1, "b": 2}'):
        assert not accepts(grammar, f"<{said}>"), said


def test_a_tool_call_holds_none_either(compiler: Any) -> None:
    grammar = compiler.compile_structural_tag(json.dumps(TAGS))
    assert accepts(grammar, '<"abc">')
    assert [char for char in CONTROL if accepts(grammar, f'<"{char}">')] == []


def test_the_length_still_counts(compiler: Any) -> None:
    grammar = compiler.compile_json_schema(json.dumps(BOUNDED), any_whitespace=False)
    assert (accepts(grammar, '"abcde"'), accepts(grammar, '"abcdef"')) == (True, False)


@pytest.mark.parametrize("key", ["größe", "ключ", "नाम", "é🙂f0", "ÿff", "a\\xdfe", "tab\tx", 'q"u', "im'я"])
def test_names_of_fields_stay_what_they_are(compiler: Any, key: str) -> None:
    schema = {"type": "object", "properties": {key: BOUNDED}, "required": [key], "additionalProperties": False}
    grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
    name = json.dumps(key, ensure_ascii=False)
    assert accepts(grammar, f'{{{name}: "ab"}}')
    assert not accepts(grammar, f'{{{name}: "a\x1db"}}')


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_a_text_is_utf_8(schema: dict[str, Any]) -> None:
    """Models may say single bytes; those of what is no character are refused one by one."""
    from llama_serving.engine.json_strings import correct_json_strings

    correct_json_strings()
    each = [bytes([code]) if code else b"\x01" for code in range(256)]
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([*each, b"<end>"], stop_token_ids=[256]))
    grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
    for text in ("é", "漢", "🙂", "\ud7ff", "\ue000", "\U0010ffff"):
        assert takes(grammar, wrapped(schema, text).encode()), text
    for data in NO_TEXT:
        assert not takes(grammar, wrapped(schema, "?").encode().replace(b"?", data)), data


def takes(grammar: Any, data: bytes) -> bool:
    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return all(matcher.accept_token(byte) for byte in data) and bool(matcher.is_terminated())

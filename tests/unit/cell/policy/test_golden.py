"""What counts as the expected answer to a golden prompt, and the sentence about one that does not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.cell.policy.golden import EngineAnswer, ToolCall, contains, engine_answer, golden_result
from llama_serving.config.desired import ExpectedCall, GoldenPrompt, Tool

CAPITAL = GoldenPrompt(prompt="The capital of France?", expect="Paris")
PERSON = json.dumps({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]})
WEATHER = Tool(name="get_weather")


def wants(name: str = "get_weather", arguments: str = '{"city": "Paris"}') -> GoldenPrompt:
    return GoldenPrompt(prompt="Weather?", tools=(WEATHER,), expect_call=ExpectedCall(name=name, arguments=arguments))


def called(*calls: tuple[str, str], text: str = "", cut: bool = False) -> EngineAnswer:
    return EngineAnswer(text=text, calls=tuple(ToolCall(*call) for call in calls), cut=cut)


@pytest.mark.parametrize(
    ("golden", "text", "problem"),
    [
        (CAPITAL, "It is Paris.", ""),
        (CAPITAL, "It is paris.", 'expected text with "Paris", got text "It is paris."'),
        (CAPITAL, "", 'expected text with "Paris", got no text and no call'),
        (GoldenPrompt(prompt="x", pattern="(?i)PARIS"), "It is paris.", ""),
        (
            GoldenPrompt(prompt="x", expect="Paris", pattern="^It"),
            "Paris",
            'expected text that matches "^It", got text "Paris"',
        ),
        (GoldenPrompt(prompt="x", expect="a"), "a", ""),
        (
            GoldenPrompt(prompt="x", pattern="("),
            "y",
            "has the pattern '(', which is not valid: missing ), unterminated subpattern at position 0",
        ),
        (GoldenPrompt(prompt="x", answer_schema=PERSON), '{"age": 5}', ""),
        (
            GoldenPrompt(prompt="x", answer_schema=PERSON),
            '{"age": "five"}',
            'expected JSON that fits its schema, got text "{\\"age\\": \\"five\\"}":'
            " $.age: 'five' is not of type 'integer'",
        ),
        (
            GoldenPrompt(prompt="x", answer_schema=PERSON, expect="5"),
            '{"age": 6}',
            'expected text with "5", got text "{\\"age\\": 6}"',
        ),
        (GoldenPrompt(prompt="x", answer_schema="{"), "1", "has a schema that is not JSON: it is no JSON: Expecting"),
    ],
)
def test_a_text(golden: GoldenPrompt, text: str, problem: str) -> None:
    found = golden_result(golden, EngineAnswer(text=text))
    assert found.passed is not bool(problem)
    assert found.problem.startswith(problem)
    assert bool(found.problem) == bool(problem)


def test_an_answer_that_is_no_json() -> None:
    found = golden_result(GoldenPrompt(prompt="x", answer_schema=PERSON), EngineAnswer(text="Sure!", cut=True))
    assert found.problem == (
        'expected JSON that fits its schema, got text "Sure!": it is no JSON: Expecting value: line 1 column 1 (char 0)'
        "; the answer was cut off at maxTokens, 32"
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (called(("get_weather", '{"city": "Paris"}')), ""),
        (called(("get_weather", '{"city": "Paris", "unit": "C"}')), ""),
        (called(("now", "{}"), ("get_weather", '{"city": "Paris"}')), ""),
        (called(("get_weather", '{"city": "Paris"}'), text="Let me look."), ""),
        (called(text="It is sunny."), 'got text "It is sunny."'),
        (called(), "got no text and no call"),
        (called(("get_weather", '{"city": "Rome"}')), 'got a call of get_weather with {"city": "Rome"}'),
        (called(("get_weather", '{"city": ')), 'got a call of get_weather with {"city": '),
        (called(("get_weather", '["Paris"]')), 'got a call of get_weather with ["Paris"]'),
        (called(("now", "")), "got a call of now with nothing"),
        (
            called(("a", "{}"), ("b", "{}"), ("c", "{}")),
            "got a call of a with {} and a call of b with {} and 1 more",
        ),
        (
            called(text='{"name": "get_wea', cut=True),
            'got text "{\\"name\\": \\"get_wea"; the answer was cut off at maxTokens, 32',
        ),
    ],
)
def test_a_call(answer: EngineAnswer, problem: str) -> None:
    found = golden_result(wants(), answer)
    expected = f'expected a call of get_weather with {{"city": "Paris"}}, {problem}' if problem else ""
    assert (found.problem, found.passed) == (expected, not problem)


def test_the_function_alone_can_be_expected() -> None:
    assert golden_result(wants(arguments=""), called(("get_weather", "no JSON"))).passed
    assert golden_result(wants(arguments=""), called(("now", "{}"))).problem.startswith(
        "expected a call of get_weather, got a call of now"
    )


def test_the_call_that_was_expected_is_the_one_that_is_shown() -> None:
    found = golden_result(wants(), called(("now", "{}"), ("get_weather", '{"city": "Paris"}')))
    assert (found.call, found.arguments) == ("get_weather", '{"city": "Paris"}')
    other = golden_result(wants(), called(("now", "{}"), ("later", "{}")))
    assert (other.call, other.arguments) == ("now", "{}")


@pytest.mark.parametrize(
    ("expected", "found", "does"),
    [
        ({}, {}, True),
        ({}, {"a": 1}, True),
        ({"a": 1}, {"a": 1.0, "b": 2}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, False),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}]}, True),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": "5"}, {"a": 5}, False),
        ({"a": "Paris"}, {"a": "paris"}, False),
        ({}, [], False),
        ([], {}, False),
    ],
)
def test_containment(expected: Any, found: Any, does: bool) -> None:
    assert contains(expected, found) is does


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_contains_itself(value: Any) -> None:
    assert contains(value, value)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_what_contains_an_object_has_its_fields(expected: dict[str, Any], found: dict[str, Any]) -> None:
    assert contains(expected, {**found, **expected})
    if contains(expected, found):
        assert expected.keys() <= found.keys()
        assert contains(expected, {**found, "a new one": 1})


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "message": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "content": JSON,
                "tool_calls": st.none()
                | st.lists(st.fixed_dictionaries({}, optional={"function": JSON}) | st.integers(), max_size=3),
            },
        ),
        "text": st.none() | st.text(),
        "finish_reason": st.none() | st.text(),
    },
)


@given(CHOICES)
def test_whatever_an_engine_answers_is_read_and_shown_bounded(choice: dict[str, Any]) -> None:
    for golden in (CAPITAL, wants(), GoldenPrompt(prompt="x", answer_schema=PERSON)):
        found = golden_result(golden, engine_answer(choice))
        assert found.passed is (not found.problem)
        assert max(len(found.answer), len(found.call), len(found.arguments)) <= 200
        assert len(found.problem) < 2000


def test_a_long_answer_is_cut() -> None:
    found = golden_result(wants(), called(("f" * 999, "g" * 999), ("f" * 999, "g" * 999), text="t" * 999))
    assert (found.answer, found.call, found.arguments) == ("t" * 200, "f" * 200, "g" * 200)
    assert len(found.problem) < 1000

"""Whether an engine's answer to a golden prompt is the one that was expected.

An answer to a prompt with ``expect_call`` passes when one of its calls names the function and its arguments contain the
expected ones. ``contains(expected, found)``: an object has at least the expected fields, each of which contains what is
expected of it; a list is as long as the expected one, item by item; text, numbers, true, false and null are equal.

Any other answer passes when its text contains ``expect``, matches ``pattern`` and is JSON that fits ``answer_schema``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.cell.policy.json_schema import NotJsonError, load_json, schema_problem
from llama_serving.config.desired import ExpectedCall, GoldenPrompt, GoldenResult

_SHOWN: Final = 200  # characters of an answer, and of anything else that is quoted of it


@dataclass(frozen=True)
class ToolCall:
    """A call as the engine gave it: the arguments are text, and may be no JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class EngineAnswer:
    """The first choice of an answer."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    cut: bool = False  # it ended because it was as long as was asked for


def engine_answer(choice: Mapping[str, Any]) -> EngineAnswer:
    """Return what a choice of a chat completion, or of a completion, says."""
    message = choice.get("message")
    said: Mapping[str, Any] = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    listed = said.get("tool_calls")
    functions = [call.get("function") for call in listed or () if isinstance(call, Mapping)]
    return EngineAnswer(
        text=str(said.get("content") or ""),
        calls=tuple(
            ToolCall(str(one.get("name") or ""), str(one.get("arguments") or ""))
            for one in functions
            if isinstance(one, Mapping)
        ),
        cut=choice.get("finish_reason") == "length",
    )


def golden_result(golden: GoldenPrompt, answer: EngineAnswer) -> GoldenResult:
    """Judge an answer."""
    problem = _call_problem(golden.expect_call, answer) if golden.expect_call else _text_problem(golden, answer)
    if problem and answer.cut:
        problem += f"; the answer was cut off at maxTokens, {golden.max_tokens}"
    return _result(golden, answer, problem)


def refused_result(golden: GoldenPrompt, said: str) -> GoldenResult:
    """Return the result of a prompt that the engine refuses to answer."""
    return _result(golden, EngineAnswer(), f"was not answered: {said}")


def unasked_result(golden: GoldenPrompt, why: str) -> GoldenResult:
    """Return the result of a prompt that cannot be asked, or whose answer cannot be compared."""
    return _result(golden, EngineAnswer(), f"cannot be checked: {why}")


def _result(golden: GoldenPrompt, answer: EngineAnswer, problem: str) -> GoldenResult:
    call = next((one for one in answer.calls if _is_expected(golden.expect_call, one)), None)
    call = call or next(iter(answer.calls), ToolCall("", ""))
    return GoldenResult(
        prompt=golden.prompt,
        passed=not problem,
        answer=answer.text[:_SHOWN],
        call=call.name[:_SHOWN],
        arguments=call.arguments[:_SHOWN],
        problem=problem,
    )


def _call_problem(expected: ExpectedCall, answer: EngineAnswer) -> str:
    if any(_is_expected(expected, call) for call in answer.calls):
        return ""
    arguments = f" with {_cut(expected.arguments)}" if expected.arguments else ""
    return f"expected a call of {expected.name}{arguments}, got {_got(answer)}"


def _is_expected(expected: ExpectedCall | None, call: ToolCall) -> bool:
    if expected is None or call.name != expected.name:
        return False
    if not expected.arguments:
        return True
    try:
        return contains(load_json(expected.arguments), load_json(call.arguments))
    except NotJsonError:
        return False


def contains(expected: Any, found: Any) -> bool:
    """Return whether a JSON value contains another one; the module says what that means."""
    if isinstance(expected, dict):
        fields = isinstance(found, dict) and expected.keys() <= found.keys()
        return fields and all(contains(value, found[name]) for name, value in expected.items())
    if isinstance(expected, list):
        alike = isinstance(found, list) and len(found) == len(expected)
        return alike and all(contains(*pair) for pair in zip(expected, found, strict=True))
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return bool(expected == found)


def _text_problem(golden: GoldenPrompt, answer: EngineAnswer) -> str:
    if golden.expect not in answer.text:
        return f"expected text with {_quoted(golden.expect)}, got {_got(answer)}"
    try:
        matches = re.search(golden.pattern, answer.text) is not None
    except re.error as error:
        return f"has the pattern {golden.pattern!r}, which is not valid: {error}"
    if not matches:
        return f"expected text that matches {_quoted(golden.pattern)}, got {_got(answer)}"
    return _schema_problem(golden.answer_schema, answer) if golden.answer_schema else ""


def _schema_problem(schema: str, answer: EngineAnswer) -> str:
    try:
        asked = load_json(schema)
    except NotJsonError as error:
        return f"has a schema that is not JSON: {error}"
    try:
        found = load_json(answer.text)
    except NotJsonError as error:
        return f"expected JSON that fits its schema, got {_got(answer)}: {error}"
    problem = schema_problem(asked, found)
    return f"expected JSON that fits its schema, got {_got(answer)}: {problem}" if problem else ""


def _got(answer: EngineAnswer) -> str:
    if answer.calls:
        shown = [f"a call of {_cut(call.name)} with {_cut(call.arguments) or 'nothing'}" for call in answer.calls[:2]]
        more = len(answer.calls) - len(shown)
        return " and ".join(shown) + (f" and {more} more" if more else "")
    return f"text {_quoted(answer.text)}" if answer.text else "no text and no call"


def _quoted(text: str) -> str:
    """Return text as a JSON string, whatever its characters are."""
    return json.dumps(_cut(text), ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

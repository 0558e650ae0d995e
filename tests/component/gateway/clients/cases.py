"""What is asked of a real engine once, so that the fake one answers as it does: tools, schemas, responses.

The model is small, so what it says is forced: the grammar leaves one answer. What is recorded is how vLLM 0.32 sends
it; ``named-call`` is of its frontend over a core that said what a grammar forces.
"""

from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"

QUESTION: Final = "How much is 17 and 25?"
ANSWER: Final = "The sum is 42."
ADD: Final = {
    "type": "object",
    "properties": {"a": {"type": "integer", "enum": [17]}, "b": {"type": "integer", "enum": [25]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
CITY: Final = {
    "type": "object",
    "properties": {"name": {"type": "string", "enum": ["Oslo"]}, "people": {"type": "integer", "enum": [709000]}},
    "required": ["name", "people"],
    "additionalProperties": False,
}
CITY_VALUE: Final = {"name": "Oslo", "people": 709000}

_CALL: Final = '<tool_call>\n{"name": "add", "arguments": {"a": 17, "b": 25}}\n</tool_call>'
_ASKED: Final = [{"role": "user", "content": QUESTION}]
_MADE: Final = {"name": "add", "arguments": '{"a": 17, "b": 25}'}


def _tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": "A function", "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


_TOOLS: Final = [_tool("add", ADD)]
_AFTER: Final = [
    *_ASKED,
    {"role": "assistant", "content": "", "tool_calls": [{"id": "call-1", "type": "function", "function": _MADE}]},
    {"role": "tool", "tool_call_id": "call-1", "content": "42"},
]
_SCHEMA: Final = {"name": "City", "schema": CITY, "strict": True}
_RESPONSE_TOOL: Final = {"type": "function", "name": "add", "parameters": ADD, "strict": True}
_LIMIT: Final = {"model": "llama", "temperature": 0, "max_tokens": 96}
_OUTPUT_LIMIT: Final = {"model": "llama", "temperature": 0, "max_output_tokens": 96, "store": False}

#: Name: path and body. Each is asked whole and as a stream.
CASES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "call": (CHAT, {**_LIMIT, "messages": _ASKED, "tools": _TOOLS, "structured_outputs": {"choice": [_CALL]}}),
    "after-call": (
        CHAT,
        {**_LIMIT, "messages": _AFTER, "tools": _TOOLS, "structured_outputs": {"choice": [ANSWER]}},
    ),
    "required-call": (CHAT, {**_LIMIT, "messages": _ASKED, "tools": _TOOLS, "tool_choice": "required"}),
    "named-call": (
        CHAT,
        {
            **_LIMIT,
            "messages": _ASKED,
            "tools": [_tool("City", CITY)],
            "tool_choice": {"type": "function", "function": {"name": "City"}},
        },
    ),
    "schema": (
        CHAT,
        {**_LIMIT, "messages": _ASKED, "response_format": {"type": "json_schema", "json_schema": _SCHEMA}},
    ),
    "response-text": (RESPONSES, {**_OUTPUT_LIMIT, "input": QUESTION, "structured_outputs": {"choice": [ANSWER]}}),
    "response-call": (
        RESPONSES,
        {**_OUTPUT_LIMIT, "input": QUESTION, "tools": [_RESPONSE_TOOL], "tool_choice": "required"},
    ),
    "response-schema": (
        RESPONSES,
        {**_OUTPUT_LIMIT, "input": QUESTION, "text": {"format": {"type": "json_schema", **_SCHEMA}}},
    ),
}

"""A program: tools, schemas and responses with OpenAI's client. Arguments: base URL, model.

Prints what it got as JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, Literal

import openai
from pydantic import BaseModel

BASE, MODEL = sys.argv[1:]
QUESTION = "How much is 17 and 25?"
MESSAGES = [{"role": "user", "content": QUESTION}]
LIMITS = {"model": MODEL, "temperature": 0}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer", "enum": [17]}, "b": {"type": "integer", "enum": [25]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ADD, "strict": True}}]
ONE_CALL = {"tool_choice": "required", "parallel_tool_calls": False}
FORCED = {"messages": MESSAGES, "tools": TOOLS, "max_tokens": 96, **ONE_CALL}
RESPONSE_TOOLS = [{"type": "function", "name": "add", "parameters": ADD, "strict": True}]


class City(BaseModel):
    """A city and how many people live in it."""

    name: Literal["Oslo"]
    people: Literal[709000]


client = openai.OpenAI(base_url=BASE, api_key="sk-not-checked", max_retries=0)


def call_of(message: Any) -> list[object]:
    call = message.tool_calls[0].function
    return [call.name, json.loads(call.arguments)]


def tool() -> object:
    asked = client.chat.completions.create(**LIMITS, **FORCED)
    return call_of(asked.choices[0].message)


def tool_stream() -> object:
    pieces = ""
    with client.chat.completions.stream(**LIMITS, **FORCED) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.delta":
                pieces += event.arguments_delta
        whole = call_of(stream.get_final_completion().choices[0].message)
    assert json.loads(pieces) == whole[1], "the pieces are the whole"
    return whole


def answered() -> object:
    """The answer after the tool's result: any text."""
    asked = client.chat.completions.create(**LIMITS, **FORCED)
    made = asked.choices[0].message
    result = {"role": "tool", "tool_call_id": made.tool_calls[0].id, "content": "42"}
    more = [*MESSAGES, made.model_dump(exclude_none=True), result]
    return (
        client.chat.completions.create(**LIMITS, messages=more, tools=TOOLS, max_tokens=16).choices[0].message.content
    )


def parsed() -> object:
    asked = client.chat.completions.parse(**LIMITS, messages=MESSAGES, response_format=City, max_tokens=96)
    return asked.choices[0].message.parsed.model_dump()


def parsed_stream() -> object:
    with client.chat.completions.stream(**LIMITS, messages=MESSAGES, response_format=City, max_tokens=96) as stream:
        return stream.get_final_completion().choices[0].message.parsed.model_dump()


def response() -> object:
    return client.responses.create(**LIMITS, input=QUESTION, max_output_tokens=16).output_text


def response_stream() -> object:
    with client.responses.stream(**LIMITS, input=QUESTION, max_output_tokens=16) as stream:
        pieces = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == pieces, "the pieces are the whole"
    return pieces


def response_parsed() -> object:
    return client.responses.parse(
        **LIMITS, input=QUESTION, text_format=City, max_output_tokens=96
    ).output_parsed.model_dump()


def response_tool() -> object:
    given = {"input": QUESTION, "tools": RESPONSE_TOOLS, "max_output_tokens": 96, **ONE_CALL}
    made = next(item for item in client.responses.create(**LIMITS, **given).output if item.type == "function_call")
    return [made.name, json.loads(made.arguments)]


def refused(ask: Callable[[], object]) -> object:
    try:
        ask()
    except openai.APIStatusError as error:
        return [error.status_code, error.code, error.param]
    return None


def stored() -> object:
    return refused(lambda: client.responses.create(**LIMITS, input="Hi", previous_response_id="resp_1"))


def embedded() -> object:
    return refused(lambda: client.embeddings.create(model=MODEL, input="Hi"))


STEPS = (
    tool, tool_stream, answered, parsed, parsed_stream, response, response_stream, response_parsed, response_tool,
    stored, embedded,
)  # fmt: skip
print(json.dumps({"version": openai.__version__, **{step.__name__: step() for step in STEPS}}))

"""A program: tools and schemas with LiteLLM. Arguments: base URL, model. Prints what it got as JSON."""

import importlib.metadata
import json
import sys
from typing import Literal

import litellm
from pydantic import BaseModel

BASE, MODEL = sys.argv[1:]
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer", "enum": [17]}, "b": {"type": "integer", "enum": [25]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
ASKED = {
    "model": f"openai/{MODEL}",
    "api_base": BASE,
    "api_key": "sk-not-checked",
    "messages": [{"role": "user", "content": "How much is 17 and 25?"}],
    "num_retries": 0,
    "temperature": 0,
    "max_tokens": 96,
}
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "add", "parameters": ADD}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}


class City(BaseModel):
    """A city and how many people live in it."""

    name: Literal["Oslo"]
    people: Literal[709000]


def tool() -> object:
    made = litellm.completion(**ASKED, **TOOLS).choices[0].message.tool_calls[0].function
    return [made.name, json.loads(made.arguments)]


def tool_stream() -> object:
    chunks = list(litellm.completion(**ASKED, **TOOLS, stream=True))
    made = litellm.stream_chunk_builder(chunks, messages=ASKED["messages"]).choices[0].message.tool_calls[0].function
    return [made.name, json.loads(made.arguments)]


def parsed() -> object:
    answer = litellm.completion(**ASKED, response_format=City)
    return City.model_validate_json(answer.choices[0].message.content).model_dump()


def embedded() -> object:
    try:
        litellm.embedding(model=f"openai/{MODEL}", input=["Hi"], api_base=BASE, api_key="sk-not-checked", num_retries=0)
    except litellm.exceptions.NotFoundError as error:
        return error.status_code
    return None


STEPS = (tool, tool_stream, parsed, embedded)
found = {step.__name__: step() for step in STEPS}
print(json.dumps({"version": importlib.metadata.version("litellm"), **found}))

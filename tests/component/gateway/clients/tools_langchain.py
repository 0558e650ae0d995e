"""A program: an agent with a Python tool, and a schema, with LangChain. Arguments: base URL, model.

The agent must call its tool before it may answer, so that a model too small to want to does so too. Prints what it got
as JSON.
"""

import importlib.metadata
import json
import sys
from typing import Any, Literal

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

BASE, MODEL = sys.argv[1:]
CALLED: list[list[int]] = []
ONE_CALL = {"parallel_tool_calls": False}


class City(BaseModel):
    """A city and how many people live in it."""

    name: Literal["Oslo"]
    people: Literal[709000]


def add(a: Literal[17], b: Literal[25]) -> int:
    """Return the sum of two numbers."""
    CALLED.append([a, b])
    return a + b


def tool_first(request: Any, handler: Any) -> Any:
    """Have the model call its tool before it may answer."""
    has_result = any(isinstance(message, ToolMessage) for message in request.messages)
    return handler(request if has_result else request.override(tool_choice="required", model_settings=ONE_CALL))


chat = ChatOpenAI(
    model=MODEL, base_url=BASE, api_key="sk-not-checked", max_retries=0, temperature=0, max_completion_tokens=96
)


def agent() -> object:
    made = create_agent(chat, [add], middleware=[wrap_model_call(tool_first)])
    messages = made.invoke({"messages": [("user", "How much is 17 and 25?")]}, {"recursion_limit": 8})["messages"]
    results = [message.content for message in messages if isinstance(message, ToolMessage)]
    return {"called": CALLED, "results": results, "answer": messages[-1].content}


def parsed() -> object:
    return chat.with_structured_output(City, method="json_schema").invoke("How much is 17 and 25?").model_dump()


def tool_stream() -> object:
    bound = chat.bind_tools([add], tool_choice="required", **ONE_CALL)
    whole: Any = None
    for chunk in bound.stream("How much is 17 and 25?"):
        whole = chunk if whole is None else whole + chunk
    return [whole.tool_calls[0]["name"], whole.tool_calls[0]["args"]]


STEPS = (agent, parsed, tool_stream)
found = {step.__name__: step() for step in STEPS}
print(json.dumps({"version": importlib.metadata.version("langchain"), **found}))

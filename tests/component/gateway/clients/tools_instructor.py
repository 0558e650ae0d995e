"""A program: pydantic models with Instructor, by tools and by schema. Arguments: base URL, model.

Prints what it got as JSON.
"""

import importlib.metadata
import json
import sys
from typing import Literal

import instructor
import openai
from pydantic import BaseModel

BASE, MODEL = sys.argv[1:]
ASKED = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "How much is 17 and 25?"}],
    "max_retries": 0,
    "temperature": 0,
    "max_tokens": 96,
}


class City(BaseModel):
    """A city and how many people live in it."""

    name: Literal["Oslo"]
    people: Literal[709000]


def by(mode: instructor.Mode) -> object:
    client = openai.OpenAI(base_url=BASE, api_key="sk-not-checked", max_retries=0)
    return instructor.from_openai(client, mode=mode).chat.completions.create(**ASKED, response_model=City).model_dump()


def tool() -> object:
    return by(instructor.Mode.TOOLS)


def parsed() -> object:
    return by(instructor.Mode.JSON_SCHEMA)


STEPS = (tool, parsed)
found = {step.__name__: step() for step in STEPS}
print(json.dumps({"version": importlib.metadata.version("instructor"), **found}))

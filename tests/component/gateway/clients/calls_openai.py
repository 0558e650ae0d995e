"""A program: what users do with OpenAI's client. Arguments: base URL, model. Prints what it got as JSON."""

import asyncio
import json
import sys

import openai

BASE, MODEL = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hi"}]


def blocking() -> dict[str, object]:
    client = openai.OpenAI(base_url=BASE, api_key="sk-not-checked", max_retries=0)
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    try:
        client.models.retrieve("unknown")
        missing = ""
    except openai.NotFoundError as error:
        missing = str(error.code)
    return {
        "whole": whole.choices[0].message.content,
        "stream": text,
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve(MODEL).id,
        "missing": missing,
    }


async def concurrent() -> str:
    async with openai.AsyncOpenAI(base_url=BASE, api_key="sk-not-checked", max_retries=0) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


print(json.dumps({**blocking(), "async": asyncio.run(concurrent())}))

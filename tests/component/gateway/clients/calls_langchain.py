"""A program: what users do with LangChain. Arguments: base URL, model. Prints what it got as JSON."""

import json
import sys

from langchain_openai import ChatOpenAI

BASE, MODEL = sys.argv[1:]

chat = ChatOpenAI(model=MODEL, base_url=BASE, api_key="sk-not-checked", max_retries=0)
whole = chat.invoke("Hi").content
stream = "".join(chunk.content for chunk in chat.stream("Hi"))
print(json.dumps({"whole": whole, "stream": stream}))

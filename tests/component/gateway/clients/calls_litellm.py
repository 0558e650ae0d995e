"""A program: what users do with LiteLLM. Arguments: base URL, model. Prints what it got as JSON."""

import json
import sys

import litellm

BASE, MODEL = sys.argv[1:]
ASKED = {
    "model": f"openai/{MODEL}",
    "api_base": BASE,
    "api_key": "sk-not-checked",
    "messages": [{"role": "user", "content": "Hi"}],
    "num_retries": 0,
}

whole = litellm.completion(**ASKED)
stream = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**ASKED, stream=True))
print(json.dumps({"whole": whole.choices[0].message.content, "stream": stream}))

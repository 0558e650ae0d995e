"""A streamed chat completion with the standard library alone, printed as it arrives."""

import http.client
import json

DEADLINE_S = 300


def ask(port: int, *, model: str, question: str) -> str:
    """Ask on 127.0.0.1, print the answer piece by piece, return it. Raises SystemExit for an answer that is none."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "max_tokens": 64,
        "temperature": 0,
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"HTTP {response.status}: {response.read().decode(errors='replace')}")
    group, weights = response.headers["x-llama-group"], response.headers["x-llama-weights"]
    print(f"      group {group}, weights {weights}: ", end="", flush=True)
    pieces = []
    for line in response:
        text = _piece(line)
        print(text, end="", flush=True)
        pieces.append(text)
    print()
    return "".join(pieces)


def _piece(line: bytes) -> str:
    data = line.strip().removeprefix(b"data: ")
    if not data.startswith(b"{"):
        return ""
    event = json.loads(data)
    if "error" in event:
        raise SystemExit(f"the stream ended with {event['error']}")
    return str(event["choices"][0]["delta"].get("content") or "")

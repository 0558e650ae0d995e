"""What an engine that is well answers to a request with a seed; every text has the mark of its seed, once a token."""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

CHAT, TEXT, REPLAY = "/v1/chat/completions", "/v1/completions", "/llama/replay"
TOKENS = tuple(range(100, 108))
DONE = b"data: [DONE]\n\n"
SECOND = "SECOND-ANSWER"
_MARKS = re.compile(rb"M(\d{1,9})k\d+E")


def mark(seed: int) -> str:
    """With a check, because a changed answer may have other digits."""
    return f"M{seed}k{zlib.crc32(b'%d' % seed) % 10_000}E"


def marked(body: bytes) -> set[int]:
    """The seeds whose marks a body has."""
    seeds = {int(found) for found in _MARKS.findall(body)}
    return {seed for seed in seeds if mark(seed).encode() in body}


@dataclass(frozen=True)
class Asked:
    """A request, as far as its answer depends on it; ``after`` tokens were made by another engine."""

    seed: int
    chat: bool
    stream: bool
    after: int = 0
    usage: bool = False
    ids: bool = False


def read(path: str, body: bytes) -> Asked:
    fields: dict[str, Any] = json.loads(body)
    if path == REPLAY:
        asked = read(fields["path"], json.dumps({**fields["request"], "seed": fields["prompt"][0]}).encode())
        return Asked(asked.seed, asked.chat, stream=True, usage=asked.usage, ids=True)
    prompt = fields.get("prompt")
    seed, after = (prompt[0], len(prompt) - 3) if isinstance(prompt, list) else (fields["seed"], 0)
    usage = bool((fields.get("stream_options") or {}).get("include_usage"))
    ids = bool(fields.get("return_token_ids"))
    return Asked(seed, path == CHAT, bool(fields.get("stream")), after, usage, ids)


def events(asked: Asked) -> list[bytes]:
    """Return the events of a stream."""
    made = []
    for at in range(asked.after, len(TOKENS)):
        first, last = at == asked.after, at == len(TOKENS) - 1
        text = f"{mark(asked.seed)}."
        choice: dict[str, Any] = {"index": 0, **({"delta": {"content": text}} if asked.chat else {"text": text})}
        choice |= {"logprobs": None, "finish_reason": "stop" if last else None}
        choice["token_ids"] = [TOKENS[at]] if asked.ids else None
        prompt = [asked.seed, 7, 8] if first and asked.ids else None
        made.append(_event(asked, choices=[choice], **({"prompt_token_ids": prompt} if first else {})))
    if asked.usage:
        count = len(TOKENS) - asked.after
        usage = {"prompt_tokens": 3, "total_tokens": 3 + count, "completion_tokens": count}
        made.append(_event(asked, choices=[], usage=usage))
    return [*made, DONE]


def whole(asked: Asked) -> bytes:
    """Return the body of an answer that is no stream."""
    text = f"{mark(asked.seed)}." * len(TOKENS)
    choice = {"message": {"role": "assistant", "content": text}} if asked.chat else {"text": text}
    usage = {"prompt_tokens": 3, "total_tokens": 11, "completion_tokens": 8}
    return json.dumps({"id": f"c-{asked.seed}", "choices": [{"index": 0, **choice}], "usage": usage}).encode()


def _event(asked: Asked, **fields: Any) -> bytes:
    body = {"id": f"c-{asked.seed}", "object": "x", "created": 1, "model": "m", **fields}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"

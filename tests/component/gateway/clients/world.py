"""What the clients meet: a gateway with one group whose engine answers as vLLM does, slowly."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.component.gateway.clients.recordings import case_of, play
from tests.component.gateway.running import Gateway, gateway
from tests.component.gateway.scripted import Exchange, Upstream, answer, head, upstreams

MODEL: Final = "meta-llama/Llama-3.1-8B-Instruct"
WORDS: Final = ("Grüß", " Gott", ",", " Welt")
TEXT: Final = "".join(WORDS)
PERIOD: Final = 0.1  # seconds of the SSE keep-alive
PAUSE: Final = 0.3  # seconds before each token: some comments each time

_BASE: Final = {"id": "chatcmpl-1", "created": 1, "model": MODEL}
_USAGE: Final = {"prompt_tokens": 3, "completion_tokens": len(WORDS), "total_tokens": 3 + len(WORDS)}


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {**_BASE, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _streams(exchange: Exchange) -> None:
    await asyncio.sleep(PAUSE)
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream; charset=utf-8"))
    await exchange.chunk(_chunk({"role": "assistant", "content": ""}))
    for number, word in enumerate(WORDS):
        await asyncio.sleep(PAUSE)
        await exchange.chunk(_chunk({"content": word}, "stop" if number + 1 == len(WORDS) else None))
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.send(b"0\r\n\r\n")


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_BASE, "model": body["model"], "object": "chat.completion", "choices": [choice], "usage": _USAGE}


async def engine(exchange: Exchange) -> None:
    """Answer a chat, streamed or whole, what is recorded, the list of models, and a stream that is read with GET."""
    if exchange.target == "/v1/models":
        model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 4096}
        await answer(200, json.dumps({"object": "list", "data": [model]}).encode())(exchange)
        return
    body = json.loads(exchange.body or b"{}")
    case = case_of(exchange.target, body)
    if case is not None:
        await play(case, exchange)
    elif exchange.method == "GET" or body.get("stream"):
        await _streams(exchange)
    elif body["model"] != MODEL:
        refused = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
        await answer(404, json.dumps({"error": refused}).encode())(exchange)
    else:
        await asyncio.sleep(PAUSE)
        await answer(200, json.dumps(_whole(body)).encode())(exchange)


@asynccontextmanager
async def world(**config: Any) -> AsyncIterator[tuple[Gateway, Upstream]]:
    """Run a gateway in front of the engine above."""
    upstream = Upstream(then=engine)
    given = {"sse_keep_alive": PERIOD, "served_name": MODEL, **config}
    async with upstreams(upstream), gateway(upstream.endpoint("a"), **given) as running:
        yield running, upstream

"""Server-sent events made by the gateway: error events, and a whole JSON answer as events."""

import asyncio
import json
from typing import Any, Final

from aiohttp import ClientError

from llama_serving.gateway.continuation.pure.chunk import DONE, write
from llama_serving.gateway.http.errors import error_kind
from llama_serving.gateway.upstream.exchange import WHOLE_BELOW, Reply

_NO_JSON: Final = 502


def error_events(status: int, message: str, *, code: str) -> bytes:
    """Return the events that end a stream with an error of the gateway."""
    return write(_error(status, message, code=code)) + DONE


async def as_events(reply: Reply, *, timeout: float) -> bytes:
    """Return an answer that is not a stream as events; ``timeout`` in seconds between its pieces."""
    body = reply.first
    try:
        while not reply.content.at_eof() and len(body) <= WHOLE_BELOW:
            async with asyncio.timeout(timeout):
                body += await reply.content.readany()
    except (ClientError, OSError, TimeoutError):
        body = b""  # an unreadable body is reported like one that is no JSON
    event = _event(reply.message.code, body)
    try:
        return write(event) + DONE
    except (ValueError, RecursionError):
        return write(_no_json(reply.message.code, body)) + DONE


def _event(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and status < 400:
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return {"error": {"code": status, **error, "status": status}}
    return _no_json(status, body)


def _no_json(status: int, body: bytes) -> dict[str, Any]:
    status = status if status >= 400 else _NO_JSON
    message = f"the group answered {status} with {len(body)} bytes that are not an OpenAI error"
    return _error(status, message, code=status)


def _error(status: int, message: str, *, code: str | int) -> dict[str, Any]:
    return {"error": {"message": message, "type": error_kind(status), "code": code, "status": status}}

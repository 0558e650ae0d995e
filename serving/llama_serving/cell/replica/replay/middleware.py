"""ASGI middleware: a request for a replay becomes one for the route whose answer is replayed."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llama_serving.cell.replica.replay.wire import CURRENT, MAX_BODY, ReplayRefusedError, read
from llama_serving.config import names

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class ReplayMiddleware:
    """Stands before everything else, so that replays count and wait as all requests do."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; a replay with the path and the body of what it replays."""
        if scope["type"] != "http" or scope["path"] != names.ROUTE_REPLAY or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            path, body, replay = read(await _whole(receive))
        except ReplayRefusedError as error:
            await _refuse(send, str(error))
            return
        # Set in this task and in those that it starts; no other request runs in it.
        CURRENT.set(replay)
        await self._app(_scope(scope, path=path, length=len(body)), _receive(body, receive), send)


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ReplayRefusedError("the client left")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise ReplayRefusedError(f"a replay of more than {MAX_BODY} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _scope(scope: Message, *, path: str, length: int) -> Message:
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in (b"content-length",)]
    headers.append((b"content-length", str(length).encode()))
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}


def _receive(body: bytes, rest: Receive) -> Receive:
    """Return a ``receive`` that brings ``body`` first, and then what the connection brings: its end."""
    pending = [body]

    async def receive() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await rest()

    return receive


async def _refuse(send: Send, why: str) -> None:
    body = json.dumps({"error": {"message": why, "type": "BadRequestError", "param": None, "code": 400}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})

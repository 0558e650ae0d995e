"""The first thing that a request to the engine's port meets: without the engine's key it gets 401 and nothing else.

The supervisor's calls about adapters carry the group's token instead, which opens more.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from llama_serving.common.engine_key import EngineKey
from llama_serving.config import names

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEY: Final = names.HEADER_ENGINE_KEY.encode()
_REFUSAL: Final = json.dumps(
    {
        "error": {
            "message": f"the header {names.HEADER_ENGINE_KEY} must carry the engine's key: ask the gateway",
            "type": "authentication_error",
            "param": None,
            "code": "engine_key_missing",
        }
    }
).encode()


class EngineKeyMiddleware:
    """ASGI middleware in front of all others; ``is_supervisor`` judges a header ``Authorization``."""

    def __init__(self, app: Asgi, *, key: EngineKey, is_supervisor: Callable[[bytes], bool]) -> None:
        self._app = app
        self._key = key
        self._is_supervisor = is_supervisor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what carries the key or the token; refuse the rest before its body is read."""
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSAL)).encode())]
            headers.append((b"connection", b"close"))
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})

    def _may_pass(self, scope: Scope) -> bool:
        headers = dict(scope.get("headers", ()))
        return self._key.is_right(headers.get(_KEY, b"")) or self._is_supervisor(headers.get(b"authorization", b""))

"""Counts the OpenAI requests that the replica is working on, streams included until their last byte."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_COUNTED: Final = "/v1/"


@dataclass
class InFlight:
    """The count, shared between the middleware and the state route."""

    requests: int = 0


class CountInFlight:
    """ASGI middleware: a request counts from its headers to the end of its answer, however it ends."""

    def __init__(self, app: Asgi, *, count: InFlight) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not scope["path"].startswith(_COUNTED):
            await self._app(scope, receive, send)
            return
        self._count.requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._count.requests -= 1

"""The door of the replica: counts the OpenAI requests, holds them while weights are exchanged, names the weights.

A request counts from its headers to the last byte of its answer. While the door is shut it waits outside of the engine,
so an engine whose door is shut and which has nothing inside has nothing that could mix two weights; what waited is
answered by the new weights and says so in its header. After a failed exchange the door refuses: the gateway asks
another group. What fails inside because the engine died is answered 503 instead of vLLM's 500: a gateway may repeat it
as often as it likes, since the request is not to blame.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from llama_serving.config import names

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_COUNTED: Final = "/v1/"
_FAILED: Final = 500
_UNAVAILABLE: Final = 503
_REFUSAL: Final = {"error": {"message": "The weights of this group are being repaired.", "type": "unavailable"}}


class Door:
    """Shared between the middleware, the exchange of weights and the state route."""

    def __init__(self, weights: str = "", *, engine_died: Callable[[], bool] = lambda: False) -> None:
        self.weights = weights  # id that answers carry
        self.engine_died = engine_died
        self.waiting = 0
        self.inside = 0
        self.refuses = False
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def requests(self) -> int:
        """Requests that have not ended, those that wait included."""
        return self.waiting + self.inside

    def shut(self) -> None:
        """Let nobody in; those outside wait."""
        self.refuses = False
        self._open.clear()

    def open(self, weights: str) -> None:
        """Let everybody in; answers are those of ``weights``."""
        self.weights, self.refuses = weights, False
        self._open.set()

    def refuse(self) -> None:
        """Send everybody away, those that wait too."""
        self.weights, self.refuses = "", True
        self._open.set()

    async def emptied(self) -> None:
        """Until nobody is inside."""
        await self._empty.wait()

    async def enter(self) -> bool:
        """Wait until the door is open and go in; false where it refuses."""
        self.waiting += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self.waiting -= 1
        if not self.refuses:
            self.inside += 1
            self._empty.clear()
        return not self.refuses

    def leave(self) -> None:
        """The answer of one that went in has ended, however it ended."""
        self.inside -= 1
        if self.inside == 0:
            self._empty.set()


class ThroughTheDoor:
    """ASGI middleware."""

    def __init__(self, app: Asgi, *, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 503."""
        if scope["type"] != "http" or not scope["path"].startswith(_COUNTED):
            await self._app(scope, receive, send)
        elif await self._door.enter():
            try:
                await self._app(scope, receive, _named(send, self._door))
            finally:
                self._door.leave()
        else:
            await _refuse(send)


def _named(send: Send, door: Door) -> Send:
    """Adds the header that names the weights; they cannot change while the request is inside."""
    header = (names.HEADER_WEIGHTS.encode(), door.weights.encode("latin-1", "replace"))

    async def named(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
            if message["status"] == _FAILED and door.engine_died():
                message["status"] = _UNAVAILABLE
        await send(message)

    return named


async def _refuse(send: Send) -> None:
    body = json.dumps(_REFUSAL).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": _UNAVAILABLE, "headers": headers})
    await send({"type": "http.response.body", "body": body})

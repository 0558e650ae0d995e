"""The request gate of the replica: counts OpenAI requests, holds them during a weight swap, names the weights.

A request counts from its headers to the last byte of its answer. While the gate is closed it waits outside of the
engine, so an engine whose gate is closed and empty has nothing that could mix two weights; what waited is answered by
the new weights and says so in its header. After a failed swap the gate rejects: the gateway tries another group. A
request that fails because the engine died is answered 503 instead of vLLM's 500: a gateway may repeat it as often as it
likes, since the request is not to blame.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from llama_serving.config import names
from llama_serving.config.routes.table import PASSED_PATHS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_COUNTED: Final = "/v1/"
_FAILED: Final = 500
_UNAVAILABLE: Final = 503
_REJECTION: Final = {
    "error": {"message": "the weights of this group are inconsistent after a failed swap", "type": "unavailable"}
}


class RequestGate:
    """Shared between the middleware, the weight swap and the state route."""

    def __init__(self, weights: str = "", *, engine_died: Callable[[], bool] = lambda: False) -> None:
        self.weights = weights  # id that answers carry
        self.engine_died = engine_died
        self.waiting = 0  # requests before the gate
        self.admitted = 0  # requests behind the gate
        self.rejecting = False
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def in_flight(self) -> int:
        """Requests that have not ended, those that wait included."""
        return self.waiting + self.admitted

    def close(self) -> None:
        """Admit nobody; those outside wait."""
        self.rejecting = False
        self._open.clear()

    def open(self, weights: str) -> None:
        """Admit everybody; answers are those of ``weights``."""
        self.weights, self.rejecting = weights, False
        self._open.set()

    def reject(self) -> None:
        """Reject every request, those that wait too."""
        self.weights, self.rejecting = "", True
        self._open.set()

    async def wait_until_empty(self) -> None:
        """Wait until no admitted request is left."""
        await self._empty.wait()

    async def enter(self) -> bool:
        """Wait until the gate is open; return whether the request is admitted."""
        self.waiting += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self.waiting -= 1
        if not self.rejecting:
            self.admitted += 1
            self._empty.clear()
        return not self.rejecting

    def leave(self) -> None:
        """Note that the answer of an admitted request has ended, however it ended."""
        self.admitted -= 1
        if self.admitted == 0:
            self._empty.set()


class RequestGateMiddleware:
    """ASGI middleware that sends OpenAI requests through the gate."""

    def __init__(self, app: Asgi, *, gate: RequestGate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it with 503."""
        if scope["type"] != "http" or not _is_counted(scope["path"]):
            await self._app(scope, receive, send)
        elif await self._gate.enter():
            try:
                await self._app(scope, receive, _with_header(send, self._gate))
            finally:
                self._gate.leave()
        else:
            await _reject(send)


def _is_counted(path: str) -> bool:
    return path.startswith(_COUNTED) or path in PASSED_PATHS


def _with_header(send: Send, gate: RequestGate) -> Send:
    """Add the header that names the weights; they cannot change while the request is behind the gate."""
    header = (names.HEADER_WEIGHTS.encode(), gate.weights.encode("latin-1", "replace"))

    async def send_with_header(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
            if message["status"] == _FAILED and gate.engine_died():
                message["status"] = _UNAVAILABLE
        await send(message)

    return send_with_header


async def _reject(send: Send) -> None:
    body = json.dumps(_REJECTION).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": _UNAVAILABLE, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Chooses the adapter of each request behind the request gate, before vLLM sees it.

The model's name is read from the body (JSON). A request whose sender expects an adapter (``names.HEADER_ADAPTER``) that
this engine would not answer with is refused with 409 and ``names.CODE_ADAPTER_ABSENT``, uncomputed; so is one for an
adapter that is not ready here. An unknown name gets OpenAI's 404. Answers of an adapter carry its id.
"""

import json
from collections.abc import Callable, MutableMapping
from typing import Any, Final, NamedTuple

from llama_serving.cell.replica.adapters.table import CHOSEN, Adapters, Choice, Meaning
from llama_serving.cell.replica.request_gate import Asgi, Receive, Scope, Send
from llama_serving.config import names

_ABSENT: Final = 409
_UNKNOWN: Final = 404
_OURS: Final = "/llama/"
_AUTHORIZATION: Final = b"authorization"


class AdapterGate:
    """ASGI middleware; ``is_supervisor`` says whether an authorization header is the supervisor's."""

    def __init__(self, app: Asgi, *, adapters: Adapters, is_supervisor: Callable[[bytes], bool]) -> None:
        self._app = app
        self._adapters = adapters
        self._is_supervisor = is_supervisor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its adapter, or refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].startswith(_OURS):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:  # the client is gone
            return
        name, headers = _model(body.content), dict(scope["headers"])
        choice = self._adapters.choose(
            name,
            expected=headers.get(names.HEADER_ADAPTER.encode(), b"").decode("utf-8", "replace"),
            verifying=self._is_supervisor(headers.get(_AUTHORIZATION, b"")),
        )
        if choice.meaning in (Meaning.ABSENT, Meaning.UNKNOWN):
            await _refuse(send, name, choice)
        else:
            await self._answer(scope, body.replayed(receive), send, name=name, choice=choice)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, name: str, choice: Choice) -> None:
        adapter = choice.adapter
        if adapter is None:
            await self._app(scope, receive, send)
            return
        self._adapters.begin(adapter)
        token = CHOSEN.set((name, adapter))
        try:
            await self._app(scope, receive, _with_header(send, adapter.id))
        finally:
            CHOSEN.reset(token)
            self._adapters.end(adapter)


class _Body(NamedTuple):
    content: bytes

    def replayed(self, receive: Receive) -> Receive:
        """Return a ``receive`` that gives the body once more, and then what comes after it."""
        given = False

        async def again() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": self.content, "more_body": False}

        return again


async def _read(receive: Receive) -> _Body | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return _Body(b"".join(parts))


def _model(body: bytes) -> str:
    """Return the model that a body names; empty where it names none, or is not JSON: vLLM says what is wrong."""
    try:
        found = json.loads(body).get("model")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _with_header(send: Send, adapter_id: str) -> Send:
    header = (names.HEADER_ADAPTER.encode(), adapter_id.encode("latin-1", "replace"))

    async def send_with_header(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_with_header


async def _refuse(send: Send, name: str, choice: Choice) -> None:
    shown = name[:200]
    if choice.meaning is Meaning.UNKNOWN:
        said = f"The model `{shown}` does not exist."
        error = {"message": said, "type": "NotFoundError", "param": "model", "code": names.CODE_MODEL_NOT_FOUND}
        status = _UNKNOWN
    else:
        said = f"this group does not answer for the model `{shown}` as it was asked; another one may"
        error = {"message": said, "type": "unavailable", "param": "model", "code": names.CODE_ADAPTER_ABSENT}
        status = _ABSENT
    content = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

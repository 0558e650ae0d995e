"""The routes by which a leader's supervisor tells its replica about LoRA adapters, with the group's token.

They change the engine, so they are none of the routes of vLLM, and ask for the token: other pods reach this port.
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from llama_serving.cell.replica.adapters.table import Adapters
from llama_serving.cell.shared.adapters.engine_adapter import (
    ROUTE_ADAPTERS,
    ROUTE_LOAD,
    ROUTE_UNLOAD,
    AdapterAnswer,
    AdapterTable,
    EngineAdapter,
)
from llama_serving.config.error_text import error_text

logger = logging.getLogger("ray.serve")

TOKEN_VARIABLE: Final = "RAY_AUTH_TOKEN_PATH"  # where the replica finds the path of the token: Ray reads it too
_LARGEST: Final = 4 << 20  # bytes of a message; a name and a digest have some hundred


class GroupToken:
    """The group's secret in a file, which the kubelet may replace."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_right(self, authorization: bytes) -> bool:
        """Return whether a header ``Authorization`` carries the token."""
        if not authorization:
            return False
        try:
            expected = f"Bearer {self._path.read_text(encoding='utf-8').strip()}"
        except OSError as error:
            logger.warning("cannot read the group's token: %s", error)
            return False
        return hmac.compare_digest(authorization, expected.encode())


def add_routes(app: FastAPI, adapters: Adapters, token: GroupToken) -> None:
    """Add the routes to vLLM's app."""

    async def hold(body: bytes) -> AdapterAnswer:
        adapters.hold_table(AdapterTable.model_validate_json(body))
        return AdapterAnswer()

    async def load(body: bytes) -> AdapterAnswer:
        return AdapterAnswer(error=await adapters.load(EngineAdapter.model_validate_json(body)))

    async def unload(body: bytes) -> AdapterAnswer:
        return AdapterAnswer(error=await adapters.unload(EngineAdapter.model_validate_json(body)))

    app.put(ROUTE_ADAPTERS)(_guarded(hold, token))
    app.post(ROUTE_LOAD)(_guarded(load, token))
    app.post(ROUTE_UNLOAD)(_guarded(unload, token))


def _guarded(
    work: Callable[[bytes], Awaitable[AdapterAnswer]], token: GroupToken
) -> Callable[[Request], Awaitable[Response]]:
    async def route(request: Request) -> Response:
        if not token.is_right(request.headers.get("authorization", "").encode("latin-1")):
            return _refuse(401, "the header Authorization must carry the group's token as a bearer token")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST:
                return _refuse(413, f"a message about adapters has at most {_LARGEST} bytes")
        try:
            answer = await work(body)
        except ValidationError as error:
            return _refuse(400, f"the message is not valid: {error_text(error)}")
        return Response(answer.model_dump_json(), media_type="application/json")

    return route


def _refuse(status: int, message: str) -> Response:
    return Response(json.dumps({"message": message}), status_code=status, media_type="application/json")

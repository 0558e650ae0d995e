"""The list of models: an engine's own, and while none can answer at once, the last one, or what the spec says.

``GET /v1/models`` is no workload, so it starts no group (telemetry/workload.py). Chat clients and monitors ask it
first: if it waited, they would take a deployment at zero groups for down, although that answers prompts. One model,
``GET /v1/models/{name}``, is always answered from the same list.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from llama_serving.gateway.http.errors import error_body
from llama_serving.gateway.http.request_target import raw_path
from llama_serving.gateway.upstream.exchange import Reply
from llama_serving.gateway.upstream.health_probe import PATH

_ONE: Final = f"{PATH}/"
_READS: Final = ("GET", "HEAD")
_OWNER: Final = "llama-operator"
_LONGEST_NAME: Final = 256  # characters of an unknown name that are repeated in the answer


class ModelsList:
    """The list; ``names`` are the models of the spec, none where they are not known."""

    def __init__(self, names: Sequence[str]) -> None:
        created = int(time.time())
        models = [{"id": name, "object": "model", "created": created, "owned_by": _OWNER} for name in names]
        self._body = json.dumps({"object": "list", "data": models}).encode() if models else b""

    def store(self, request: web.BaseRequest, reply: Reply) -> None:
        """Store the answer of an engine, if it is the list."""
        if request.method != "GET" or raw_path(request) != PATH or "content-encoding" in reply.message.headers:
            return
        if reply.message.code == 200 and reply.content.at_eof() and _models(reply.first):
            self._body = reply.first

    def whole(self, request: web.BaseRequest) -> web.Response | None:
        """Return the list; None when it is not what is requested, or not known."""
        if not self._body or request.method not in _READS or raw_path(request) != PATH:
            return None
        return web.Response(body=self._body, content_type="application/json")

    def one(self, request: web.BaseRequest) -> web.Response | None:
        """Return one model, or 404; None when that is not what is requested, or no list is known."""
        if not self._body or request.method not in _READS:
            return None
        path = raw_path(request)
        if not path.startswith(_ONE):
            return None
        name = unquote(path.removeprefix(_ONE))
        for model in _models(self._body):
            if model.get("id") == name:
                return web.json_response(model)
        message = f"The model '{name[:_LONGEST_NAME]}' does not exist"
        body = error_body(message, kind="invalid_request_error", code="model_not_found", param="model")
        return web.Response(status=404, body=body, content_type="application/json")


def _models(body: bytes) -> list[dict[str, Any]]:
    """Return the models in a list; none when it is no list of models."""
    try:
        listed = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

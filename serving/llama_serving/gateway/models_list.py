"""The list of models: an engine's own, and while none can answer at once, the last one, or what the spec says.

``GET /v1/models`` is no workload, so it starts no group (telemetry/workload.py). Chat clients and monitors ask it
first: if it waited, they would take a deployment at zero groups for down, although that answers prompts. One model,
``GET /v1/models/{name}``, is always answered from the same list.

Where the names of adapters are known, the list is the gateway's own, the same before and after groups are there: the
engines know their adapters under other names. It has only what the client's key may ask for.
"""

import json
import time
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from llama_serving.gateway.access.visit import Visit
from llama_serving.gateway.adapters.known_models import KnownModels, not_found
from llama_serving.gateway.http.errors import error_body
from llama_serving.gateway.http.request_target import raw_path
from llama_serving.gateway.upstream.exchange import Reply
from llama_serving.gateway.upstream.health_probe import PATH

_ONE: Final = f"{PATH}/"
_READS: Final = ("GET", "HEAD")
_OWNER: Final = "llama-operator"


class ModelsList:
    """The list; ``known`` are the names that exist."""

    def __init__(self, known: KnownModels) -> None:
        self._known = known
        self._created = int(time.time())
        self._stored = _list([self._model(name) for name in known.base]) if known.base else b""

    @property
    def _body(self) -> bytes:
        """The list; empty where it is not known."""
        if not self._known.is_told:
            return self._stored
        limit = {} if self._known.max_model_len is None else {"max_model_len": self._known.max_model_len}
        base = [{**self._model(name), "root": name, "parent": None, **limit} for name in self._known.base]
        adapters = self._known.parents().items()
        return _list([*base, *({**self._model(name), "root": of, "parent": of, **limit} for name, of in adapters)])

    def store(self, request: web.BaseRequest, reply: Reply) -> None:
        """Store the answer of an engine, if it is the list."""
        if request.method != "GET" or raw_path(request) != PATH or "content-encoding" in reply.message.headers:
            return
        if reply.message.code == 200 and reply.content.at_eof() and _models(reply.first):
            self._stored = reply.first

    def alone(self, request: web.BaseRequest, visit: Visit | None = None) -> web.Response | None:
        """Return what no engine is asked for: one model, or 404, or the list of those who know their adapters.

        ``visit``: the client, who may perhaps ask for some models only.
        """
        if request.method not in _READS or not raw_path(request).startswith(PATH):
            return None
        if visit is not None and visit.models:
            return self._whole(request, self._of(visit)) or self._one(request, self._of(visit))
        return (self.whole(request) if self._known.is_told else None) or self._one(request, self._body)

    def whole(self, request: web.BaseRequest) -> web.Response | None:
        """Return the list; None when it is not what is requested, or not known."""
        return self._whole(request, self._body)

    def _of(self, visit: Visit) -> bytes:
        """Return the list for a client who may ask for some models only: what it names where no list is known."""
        body = self._body
        known = _models(body) if body else [self._model(name) for name in sorted(visit.models)]
        return _list([model for model in known if visit.may_see(str(model.get("id")))])

    def _whole(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if request.method not in _READS or raw_path(request) != PATH:
            return None
        return web.Response(body=body, content_type="application/json") if body else None

    def _one(self, request: web.BaseRequest, listed: bytes) -> web.Response | None:
        """Return one model, or 404; None when that is not what is requested, or no list is known."""
        path = raw_path(request)
        if request.method not in _READS or not path.startswith(_ONE):
            return None
        if not listed:
            return None
        name = unquote(path.removeprefix(_ONE))
        for model in _models(listed):
            if model.get("id") == name:
                return web.json_response(model)
        error = (self._known.why_not(name) if self._known.is_told else None) or not_found(name)
        body = error_body(str(error), kind="invalid_request_error", code=error.code, param="model")
        return web.Response(status=404, body=body, content_type="application/json")

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": _OWNER}


def _list(models: list[dict[str, Any]]) -> bytes:
    return json.dumps({"object": "list", "data": models}).encode()


def _models(body: bytes) -> list[dict[str, Any]]:
    """Return the models in a list; none when it is no list of models."""
    try:
        listed = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

"""What the gateway answers at once and alone, so also at zero groups: health, OPTIONS, and what no path serves.

None of it is work for a group, so none of it waits, wakes a group or counts for autoscaling.
"""

import json
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11

from llama_serving.gateway.http.bad_requests import OTHER_VERSION
from llama_serving.gateway.http.cors import METHODS, CorsPolicy
from llama_serving.gateway.http.errors import error_response
from llama_serving.gateway.http.request_target import raw_path
from llama_serving.gateway.server_state import ServerState

#: For load balancers and monitors: 200 while the gateway takes requests, 503 from SIGTERM on.
HEALTH_PATHS: Final = frozenset({"/", "/health"})
_SPOKEN: Final = (HttpVersion11, HttpVersion10)
_NOT_LISTED: Final = (
    "gateway.cors.origins of the deployment does not list this origin, so its pages may not call this API"
)
_HEALTHY: Final = json.dumps({"status": "ok"}).encode()


class Edge:
    """Answers without a group; ``origins`` are those of CORS."""

    def __init__(self, cors: CorsPolicy, state: ServerState) -> None:
        self._cors = cors
        self._state = state

    def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer, or None when the request is none of these."""
        if request.version not in _SPOKEN:  # the parser takes HTTP/0.9, and HTTP/2.0 in a line of text
            return error_response(505, OTHER_VERSION, code="http_version_not_supported")
        if request.method == "OPTIONS":
            return self._options(request)
        if raw_path(request) in HEALTH_PATHS:
            return self._health(request.method)
        return None

    def _options(self, request: web.BaseRequest) -> web.Response:
        is_preflight = "origin" in request.headers and "access-control-request-method" in request.headers
        if not is_preflight or not self._cors.is_on:
            return web.Response(status=204, headers={"allow": METHODS})
        headers = self._cors.preflight(request.headers)
        if headers is None:
            return error_response(403, _NOT_LISTED, code="origin_not_allowed")
        return web.Response(status=204, headers=headers)

    def _health(self, method: str) -> web.Response:
        if method not in ("GET", "HEAD"):
            response = error_response(405, "only GET and HEAD", code="method_not_allowed")
            response.headers["allow"] = "GET, HEAD, OPTIONS"
            return response
        if self._state.draining:
            return error_response(503, "the gateway is shutting down", code="draining")
        return web.Response(body=_HEALTHY, content_type="application/json", headers={"cache-control": "no-store"})

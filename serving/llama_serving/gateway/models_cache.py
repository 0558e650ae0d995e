"""The list of models at zero groups: the last answer of an engine to ``GET /v1/models``.

Such a request is no workload, so it starts no group (telemetry/workload.py). Without the cache, monitors and chat
clients that read the list would take a deployment at zero groups for down, although it answers prompts. After a restart
of the gateway the cache is empty, and the request waits like any other.
"""

from aiohttp import web

from llama_serving.gateway.routing.router import Router
from llama_serving.gateway.upstream.exchange import Reply
from llama_serving.gateway.upstream.health_probe import PATH


class ModelsCache:
    """The last list of models."""

    def __init__(self) -> None:
        self._body = b""

    def store(self, request: web.BaseRequest, reply: Reply) -> None:
        """Store the answer of an engine, if it is the list."""
        if request.method == "GET" and request.path == PATH and reply.message.code == 200 and reply.content.at_eof():
            self._body = b"" if "content-encoding" in reply.message.headers else reply.first

    def answer(self, request: web.BaseRequest, router: Router) -> web.Response | None:
        """Return the stored list if it is requested and no group is known that could answer."""
        if not self._body or request.method != "GET" or request.path != PATH:
            return None
        if any(not backend.gone for backend in router.backends.values()):
            return None
        return web.Response(body=self._body, content_type="application/json")

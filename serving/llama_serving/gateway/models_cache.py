"""The list of models at zero groups: what an engine last said to ``GET /v1/models``.

Such a request is no work, so it wakes no group (demand.py). Without a memory a monitor that asks for the list, and a
chat program that shows it, would find a deployment at zero dead, though a question would be answered. After a restart
of the gateway the memory is empty, and the request waits like any other.
"""

from aiohttp import web

from llama_serving.gateway.routing.router import Router
from llama_serving.gateway.upstream.exchange import Reply
from llama_serving.gateway.upstream.health_probe import PATH


class ModelsCache:
    """The last list."""

    def __init__(self) -> None:
        self._body = b""

    def note(self, request: web.BaseRequest, reply: Reply) -> None:
        """Keep the answer of an engine, if it is the list."""
        if request.method == "GET" and request.path == PATH and reply.message.code == 200 and reply.content.at_eof():
            self._body = b"" if "content-encoding" in reply.message.headers else reply.first

    def answer(self, request: web.BaseRequest, router: Router) -> web.Response | None:
        """Return the list if it is asked for and no group is known that could give it."""
        if not self._body or request.method != "GET" or request.path != PATH:
            return None
        if any(not group.gone for group in router.groups.values()):
            return None
        return web.Response(body=self._body, content_type="application/json")

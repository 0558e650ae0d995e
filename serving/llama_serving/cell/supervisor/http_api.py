"""``/llama/state``, ``/llama/desired``, ``/live`` and ``/ready`` of every stage, from its first second on.

A leader has ``/metrics`` beside them, on a port of its own: who may scrape may do nothing else.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web
from pydantic import ValidationError

from llama_serving.cell.shared.engine_metrics import EngineReading, WatchReading, metrics_text
from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.error_text import error_text, rule_text
from llama_serving.config.metrics import CONTENT_TYPE

logger = logging.getLogger(__name__)

_LARGEST_BODY = 64 << 20  # bytes; the manifest of a large model with the digests of all its tensors has some MB


def state_app(supervisor: Supervisor, *, token: Callable[[], str]) -> web.Application:
    """Return the routes of one supervisor."""

    async def state(_: web.Request) -> web.Response:
        return web.Response(text=supervisor.state().model_dump_json(), content_type="application/json")

    async def live(_: web.Request) -> web.Response:
        return _probe(supervisor, good=supervisor.is_live())

    async def ready(_: web.Request) -> web.Response:
        return _probe(supervisor, good=supervisor.is_ready())

    async def desired(request: web.Request) -> web.Response:
        if not _is_allowed(request, token):
            return _refuse(401, "the header Authorization must carry the group's token as a bearer token")
        return await _store(supervisor, await request.read(), request.headers.get(names.HEADER_SIGNATURE, ""))

    app = web.Application(client_max_size=_LARGEST_BODY)
    app.router.add_get(names.ROUTE_STATE, state)
    app.router.add_put(names.ROUTE_DESIRED, desired)
    app.router.add_get(names.ROUTE_LIVE, live)
    app.router.add_get(names.ROUTE_READY, ready)
    return app


def metrics_app(read: Callable[[], Awaitable[EngineReading]], watched: Callable[[], WatchReading]) -> web.Application:
    """Return the route for Prometheus: ``read`` looks at the engine once a scrape, ``watched`` at the watch."""

    async def metrics(_: web.Request) -> web.Response:
        reading = replace(await read(), watched=watched())
        return web.Response(body=metrics_text(reading), headers={"content-type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get(names.ROUTE_METRICS, metrics)
    return app


def _probe(supervisor: Supervisor, *, good: bool) -> web.Response:
    return web.Response(status=200 if good else 503, text=supervisor.state().message + "\n")


def _is_allowed(request: web.Request, token: Callable[[], str]) -> bool:
    try:
        expected = f"Bearer {token()}"
    except OSError as error:
        logger.warning("cannot read the group's token: %s", error)
        return False
    return hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode())


async def _store(supervisor: Supervisor, body: bytes, signature: str) -> web.Response:
    """Store a desired state; its signature is passed on with the very bytes, since only the stager can check it."""
    signed = signature.encode("utf-8", "replace") + b"\n" + body if signature else b""
    try:
        desired = DesiredState.model_validate_json(body)
        await supervisor.store_desired(desired, signed=signed)
    except ValidationError as error:
        return _refuse(400, _sentence(error))
    except OSError as error:
        return _refuse(507, f"the desired state cannot be stored in {names.CONTROL_MOUNT}: {error_text(error)}")
    return web.json_response({"desired": desired.key})


def _sentence(error: ValidationError) -> str:
    return f"the desired state is not valid: {rule_text(error.errors()[0], whole='the body')}"


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)

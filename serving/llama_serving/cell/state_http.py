"""``/llama/state``, ``/live`` and ``/ready`` of every stage, from its first second on."""

from aiohttp import web

from llama_serving.cell.supervisor import Supervisor
from llama_serving.config import names


def state_app(supervisor: Supervisor) -> web.Application:
    """The routes of one supervisor."""

    async def state(_: web.Request) -> web.Response:
        return web.Response(text=supervisor.state().model_dump_json(), content_type="application/json")

    async def live(_: web.Request) -> web.Response:
        return _verdict(supervisor.is_live(), supervisor)

    async def ready(_: web.Request) -> web.Response:
        return _verdict(supervisor.is_ready(), supervisor)

    app = web.Application()
    app.router.add_get(names.ROUTE_STATE, state)
    app.router.add_get(names.ROUTE_LIVE, live)
    app.router.add_get(names.ROUTE_READY, ready)
    return app


def _verdict(good: bool, supervisor: Supervisor) -> web.Response:
    return web.Response(status=200 if good else 503, text=supervisor.state().message + "\n")

"""The operator's admin port: liveness, metrics and the recordings of autoscaling.

GET /live                                 200, or 503 when a loop is late, or a list that is needed was not given for a
                                          minute: only a restart helps then, with new connections and credentials
GET /ready                                200 when every namespace is watched, else 503; one sentence for each
GET /metrics                              Prometheus' text format (metrics/)
GET /autoscaling/{namespace}/{name}.csv   the last hour, as ``python -m llama_operator.replay replay`` reads it
"""

from aiohttp import web

from llama_operator.loop import Heartbeat
from llama_operator.metrics.registry import OperatorState
from llama_operator.metrics.table import METRICS
from llama_operator.plan.autoscaling.recording import as_csv
from llama_operator.ports import Key
from llama_operator.scopes import readiness
from llama_operator.scopes.listings import Listings
from llama_operator.scopes.readiness import Readiness
from llama_serving.config.metrics import CONTENT_TYPE, exposition
from llama_serving.config.names import ROUTE_LIVE, ROUTE_READY

PORT = 8080
LATE = 120.0  # seconds; twice the longest pass
UNLISTED = 60.0  # seconds


class AdminApi:
    """The routes of the admin port."""

    def __init__(
        self, heartbeat: Heartbeat, state: OperatorState, ready: Readiness, *, listings: Listings | None = None
    ) -> None:
        self._heartbeat = heartbeat
        self._listings = listings
        self._registry = state.autoscalers
        self._ready = ready
        self._expositions = (exposition(METRICS, lambda: state), exposition(readiness.METRICS, lambda: ready))

    def app(self) -> web.Application:
        """Return the application with the routes."""
        app = web.Application()
        app.router.add_get(ROUTE_LIVE, self._get_live)
        app.router.add_get(ROUTE_READY, self._get_ready)
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/autoscaling/{namespace}/{name}.csv", self._get_recording)
        return app

    async def _get_live(self, _: web.Request) -> web.Response:
        late, unlisted = self._heartbeat.late(), self._listings.late() if self._listings else 0.0
        loops = len(self._heartbeat.due)
        body = {"loops": loops, "seconds_late": round(late, 1)}
        if unlisted:
            body["seconds_unlisted"] = round(unlisted, 1)
        return web.json_response(body, status=503 if late > LATE or unlisted > UNLISTED else 200)

    async def _get_ready(self, _: web.Request) -> web.Response:
        body = {"ready": self._ready.ready, "namespaces": self._ready.namespaces()}
        return web.json_response(body, status=200 if self._ready.ready else 503)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        body = b"".join(render() for render in self._expositions)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _get_recording(self, request: web.Request) -> web.Response:
        key = Key(request.match_info["namespace"], request.match_info["name"])
        readings = self._registry.readings(key)
        if readings is None:
            text = f"no autoscaled deployment {key.namespace}/{key.name} was seen since this operator started\n"
            return web.Response(status=404, text=text)
        return web.Response(text=as_csv(readings), content_type="text/csv", charset="utf-8")


async def serve(
    heartbeat: Heartbeat,
    state: OperatorState,
    ready: Readiness,
    *,
    port: int = PORT,
    listings: Listings | None = None,
) -> web.AppRunner:
    """Serve the admin port; the caller cleans the runner up."""
    runner = web.AppRunner(AdminApi(heartbeat, state, ready, listings=listings).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner

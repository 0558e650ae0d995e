"""The operator's port: liveness, metrics and the recordings of autoscaling.

Dead is an operator one of whose loops has missed its time by far, since then only a restart helps.
"""

from aiohttp import web

from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.loop import Heartbeat
from llama_operator.ports import Key
from llama_serving.config.names import ROUTE_LIVE

PORT = 8080
LATE = 120.0  # seconds; twice the longest pass


async def serve(pulse: Heartbeat, scales: AutoscalerRegistry, *, port: int = PORT) -> web.AppRunner:
    """Answer the kubelet, Prometheus and those who want a recording; the caller cleans the runner up."""

    async def live(_: web.Request) -> web.Response:
        late = pulse.late()
        body = {"loops": len(pulse.due), "seconds_late": round(late, 1)}
        return web.json_response(body, status=503 if late > LATE else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=scales.metrics(), content_type="text/plain", charset="utf-8")

    async def recording(request: web.Request) -> web.Response:
        key = Key(request.match_info["namespace"], request.match_info["name"])
        text = scales.recording(key)
        if text is None:
            said = f"no autoscaled deployment {key.namespace}/{key.name} was seen since this operator started\n"
            return web.Response(status=404, text=said)
        return web.Response(text=text, content_type="text/csv", charset="utf-8")

    app = web.Application()
    app.router.add_get(ROUTE_LIVE, live)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/autoscaling/{namespace}/{name}.csv", recording)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner

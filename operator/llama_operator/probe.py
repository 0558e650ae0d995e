"""The operator's liveness: dead when a loop has missed its time by far, since then only a restart helps."""

from aiohttp import web

from llama_operator.loop import Pulse
from llama_serving.config.names import ROUTE_LIVE

PORT = 8080
LATE = 120.0  # seconds; twice the longest pass


async def serve(pulse: Pulse, *, port: int = PORT) -> web.AppRunner:
    """Answer the kubelet; the caller cleans the runner up."""

    async def live(_: web.Request) -> web.Response:
        late = pulse.late()
        body = {"loops": len(pulse.due), "seconds_late": round(late, 1)}
        return web.json_response(body, status=503 if late > LATE else 200)

    app = web.Application()
    app.router.add_get(ROUTE_LIVE, live)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner

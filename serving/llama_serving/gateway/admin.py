"""The internal port: what the operator, the kubelet and Prometheus ask."""

from collections.abc import Iterable

from aiohttp import web

from llama_serving.config import names
from llama_serving.config.gateway import GatewayLoad, GroupLoad
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.handler import RequestHandler
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.telemetry.metrics import Metrics, labelled, sample, started
from llama_serving.gateway.telemetry.workload import samples, work_count

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class AdminApi:
    """Answers on the internal port. ``synced``: discovery has spoken once; zero groups are groups enough to hold."""

    def __init__(self, *, dispatcher: Dispatcher, proxy: RequestHandler, metrics: Metrics) -> None:
        self.synced = False
        self._dispatcher = dispatcher
        self._proxy = proxy
        self._metrics = metrics
        self._started = tuple(started())
        self._since = dispatcher.clock()

    def app(self) -> web.Application:
        """Return the routes."""
        app = web.Application()
        app.router.add_get("/load", self._load)
        app.router.add_get("/metrics", self._metrics_text)
        app.router.add_get(names.ROUTE_LIVE, self._live)
        app.router.add_get(names.ROUTE_READY, self._ready)
        return app

    def load(self) -> GatewayLoad:
        """Return what this gateway has to do now."""
        router, now = self._dispatcher.router, self._dispatcher.clock()
        demand = self._metrics.demand
        return GatewayLoad(
            waiting=router.line.work.requests,
            oldest_wait=round(router.oldest_wait(now), 3),
            in_flight=router.in_flight(),
            draining=self._proxy.draining,
            groups=tuple(_group_load(group) for group in self._groups()),
            totals=dict(self._metrics.totals),
            by_weights={weights: count.counts() for weights, count in self._metrics.weights.items()},
            uptime=round(now - self._since, 3),
            arrived=work_count(demand.arrived),
            waits=work_count(router.line.work),
            served=work_count(demand.served),
        )

    def metrics_text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return "\n".join((*self._metrics.lines(), *self._started, *self._state_lines())) + "\n"

    def _state_lines(self) -> Iterable[str]:
        load = self.load()
        yield from sample("llama_gateway_waiting", "gauge", "requests that wait for a group", load.waiting)
        yield from sample("llama_gateway_oldest_wait_seconds", "gauge", "wait of the longest waiting", load.oldest_wait)
        yield from sample("llama_gateway_draining", "gauge", "1 from SIGTERM on", int(load.draining))
        for name, kind, text, value in samples(self._metrics.demand, self._dispatcher.router.line.work):
            yield from sample(f"llama_gateway_{name}", kind, text, value)
        yield from labelled(
            "llama_gateway_in_flight", "requests that a group has now", ((g.name, g.in_flight) for g in load.groups)
        )
        yield from labelled(
            "llama_gateway_group_ready", "1: discovery says ready", ((g.name, g.ready) for g in load.groups)
        )
        yield from labelled(
            "llama_gateway_group_ejected", "1: paused after failures", ((g.name, g.ejected) for g in load.groups)
        )

    def _groups(self) -> list[Backend]:
        return sorted(self._dispatcher.router.groups.values(), key=lambda group: (group.target.name, group.gone))

    async def _load(self, _: web.Request) -> web.Response:
        return web.Response(text=self.load().model_dump_json(), content_type="application/json")

    async def _metrics_text(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics_text().encode(), headers={"content-type": _TEXT})

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._proxy.draining:
            return web.Response(status=503, text="draining: this gateway ends\n")
        if not self.synced:
            return web.Response(status=503, text="the groups are not known yet\n")
        return web.Response(text="ready\n")


def _group_load(group: Backend) -> GroupLoad:
    return GroupLoad(
        name=group.target.name,
        group=group.target.ordinal,
        weights=group.target.weights,
        ready=group.target.ready and not group.gone,
        ejected=group.health.ejected,
        in_flight=group.in_flight,
    )

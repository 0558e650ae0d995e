"""The admin port: load for the operator, probes for the kubelet, metrics for Prometheus."""

import time

from aiohttp import web

from llama_serving.config import names
from llama_serving.config.access.metrics import AccessSnapshot
from llama_serving.config.gateway import AdapterLoad, GatewayLoad, GroupLoad
from llama_serving.config.gateway_metrics import METRICS, GatewaySnapshot
from llama_serving.config.metrics import CONTENT_TYPE, exposition
from llama_serving.gateway.access.control import AccessControl
from llama_serving.gateway.connections.fair_share import FairShare
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.routing.adapter_demand import AdapterUse
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.server_state import ServerState
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.telemetry.process import process_usage
from llama_serving.gateway.telemetry.workload import work_count
from llama_serving.gateway.tls.reloading import ReloadingCertificate

LONGEST_START = 86_400.0  # seconds that are believed


class AdminApi:
    """The routes of the admin port, and what they report."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        metrics: Metrics,
        state: ServerState,
        table: ConnectionTable,
        share: FairShare,
        budget: MemoryBudget,
        access: AccessControl | None = None,
        certificate: ReloadingCertificate | None = None,
    ) -> None:
        self._access = access
        self._dispatcher = dispatcher
        self._table = table
        self._share = share
        self._budget = budget
        self._metrics = metrics
        self._state = state
        self._certificate = certificate
        self._started_at = time.time()
        self._since = dispatcher.clock()
        self._exposition = exposition(METRICS, self._snapshot)

    def app(self) -> web.Application:
        """Return the application with the routes."""
        app = web.Application()
        app.router.add_get("/load", self._get_load)
        app.router.add_get(names.ROUTE_METRICS, self._get_metrics)
        app.router.add_get(names.ROUTE_LIVE, self._get_live)
        app.router.add_get(names.ROUTE_READY, self._get_ready)
        if self._access is not None:
            app.router.add_routes(self._access.routes())
        return app

    def load(self) -> GatewayLoad:
        """Return the present load of this gateway."""
        router, now = self._dispatcher.router, self._dispatcher.clock()
        workload = self._metrics.workload
        uses = router.demand.uses(router.queue, router.backends.values())
        return GatewayLoad(
            waiting=router.queue.work.requests,
            oldest_wait=round(router.oldest_wait(now), 3),
            in_flight=router.in_flight(),
            draining=self._state.draining,
            groups=tuple(_group_load(backend) for backend in self._backends()),
            totals=dict(self._metrics.totals),
            by_weights={weights: count.counts() for weights, count in self._metrics.weights.items()},
            uptime=round(now - self._since, 3),
            arrived=work_count(workload.arrived),
            waits=work_count(router.queue.work),
            served=work_count(workload.served),
            adapters={name: _adapter_load(use, now) for name, use in sorted(uses.items())},
            by_adapter={adapter: count.counts() for adapter, count in self._metrics.adapters.items()},
            certificate=self._certificate.state() if self._certificate else None,
        )

    def metrics_text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return self._exposition()

    def _snapshot(self) -> GatewaySnapshot:
        metrics = self._metrics
        return GatewaySnapshot(
            load=self.load(),
            codes=metrics.codes,
            faults=metrics.faults,
            wait=metrics.wait.distribution(),
            first_byte=metrics.first_byte.distribution(),
            duration=metrics.duration.distribution(),
            stream_first_byte={weights: count.distribution() for weights, count in metrics.weights.items()},
            served_seconds=metrics.workload.served.seconds,
            process=process_usage(self._started_at),
            connections=self._table.count,
            closed=self._table.closed,
            held={
                "bodies": self._budget.bodies,
                "answers": self._budget.answers,
                "streams": self._budget.streams,
                "connections": self._table.held,
            },
            loop_load=self._share.load,
            paused=self._share.waiting,
            access=AccessSnapshot() if self._access is None else self._access.snapshot(),
        )

    def _backends(self) -> list[Backend]:
        backends = self._dispatcher.router.backends.values()
        return sorted(backends, key=lambda backend: (backend.endpoint.name, backend.gone))

    async def _get_load(self, request: web.Request) -> web.Response:
        seconds = _seconds(request.query.get(names.QUERY_EXPECTED_START, ""))
        if seconds is not None:
            self._dispatcher.router.expected_start.tell(seconds, self._dispatcher.clock())
        return web.json_response(self.load().to_wire())

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics_text(), headers={"content-type": CONTENT_TYPE})

    async def _get_live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _get_ready(self, _: web.Request) -> web.Response:
        if self._state.draining:
            return web.Response(status=503, text="draining\n")
        if not self._state.synced:
            return web.Response(status=503, text="discovery has not listed the groups yet\n")
        if self._certificate and not self._certificate.ready:
            return web.Response(status=503, text=f"no certificate: {self._certificate.state().fault}\n")
        return web.Response(text="ready\n")


def _seconds(text: str) -> float | None:
    """Read what the operator expects; None where it says nothing, or nothing that is a time."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_START else None


def _group_load(backend: Backend) -> GroupLoad:
    endpoint = backend.endpoint
    return GroupLoad(
        name=endpoint.name,
        group=endpoint.ordinal,
        weights=endpoint.weights,
        ready=endpoint.ready and not backend.gone,
        ejected=backend.health.ejected,
        in_flight=backend.in_flight,
        adapters=dict(backend.by_adapter),
    )


def _adapter_load(use: AdapterUse, now: float) -> AdapterLoad:
    return AdapterLoad(
        waiting=use.waiting,
        in_flight=use.in_flight,
        arrived=use.arrived,
        oldest_wait=0.0 if use.oldest_since is None else round(now - use.oldest_since, 3),
        idle=0.0 if use.waiting or use.in_flight else round(now - use.last_used, 3),
    )

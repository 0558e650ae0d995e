"""The process: two listeners, discovery, probes, and the drain.

On SIGTERM /ready fails and every answer asks its client to close the connection, but the listener stays open for
``lame_duck`` seconds: until then clients may still be sent here. Then it closes. Requests in flight and in the queue
are finished, within ``drain`` seconds. A second signal ends at once.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig, GatewayLoad, ServedModels
from llama_serving.gateway.access.control import AccessControl
from llama_serving.gateway.adapters.known_models import KnownModels
from llama_serving.gateway.adapters.models_file import ModelsFile
from llama_serving.gateway.admin import AdminApi
from llama_serving.gateway.connections.admin_site import AdminSite
from llama_serving.gateway.connections.fair_share import FairShare
from llama_serving.gateway.connections.limits import connection_limits, descriptor_limit
from llama_serving.gateway.connections.server import ClientServer, ConnectionWatch, keep_shares, listen
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.discovery import Discovery
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.handler import RequestHandler
from llama_serving.gateway.http.memory_budget import MemoryBudget, body_budget, memory_limit
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.router import Limits, Router
from llama_serving.gateway.server_state import ServerState
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.tls.reloading import ReloadingCertificate
from llama_serving.gateway.upstream.connection import ConnectionPools, no_credential
from llama_serving.gateway.upstream.health_probe import Prober

_READ_ON = 0.2  # seconds in which requests are read that had to wait for their turn
_HANDSHAKE = 10.0  # seconds for which a client may hold a connection before it has said anything


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; port 0 takes a free one."""

    host: str = "0.0.0.0"
    port: int = names.PORT_GATEWAY
    admin_port: int = names.PORT_GATEWAY_ADMIN


class GatewayServer:
    """One gateway. ``serve`` is its whole life, ``handle_exit`` what a signal calls.

    The ports are set when ``started`` is. ``idle``: seconds that its loop has waited for something to do so far; by
    default it is never busy.
    """

    def __init__(
        self,
        config: GatewayConfig,
        discovery: Discovery,
        *,
        access_log: bool = False,
        models: Path | None = None,
        credential: Callable[[], bytes] = no_credential,
        access: AccessControl | None = None,
        certificates: Path = Path(names.GATEWAY_TLS_MOUNT),
        idle: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self.access = access or AccessControl(config)
        self._discovery = discovery
        self._state = ServerState()
        self._dispatcher = Dispatcher(Router(_limits(config)), time.monotonic)
        self._pools = ConnectionPools(
            connect_timeout=config.connect_timeout, clock=time.monotonic, credential=credential
        )
        self._prober = Prober(self._dispatcher, credential=credential)
        self._known = KnownModels(config.served_names)
        self._models_file = None if models is None else ModelsFile(models, self._take_models)
        metrics = Metrics()
        memory = config.memory_limit or memory_limit()
        self._budget = MemoryBudget(min(config.max_held, body_budget(memory)))
        self._table = ConnectionTable(connection_limits(config, memory=memory, descriptors=descriptor_limit()))
        self._share = FairShare(clock=time.monotonic, idle=idle)
        self._handler = RequestHandler(
            config,
            dispatcher=self._dispatcher,
            pools=self._pools,
            metrics=metrics,
            state=self._state,
            known=self._known,
            budget=self._budget,
            gate=self.access.gate,
            access_log=access_log,
        )
        self._certificate = ReloadingCertificate(certificates) if config.tls else None
        self._admin = AdminApi(
            dispatcher=self._dispatcher,
            metrics=metrics,
            state=self._state,
            table=self._table,
            share=self._share,
            budget=self._budget,
            access=self.access,
            certificate=self._certificate,
        )
        self.started = asyncio.Event()
        self.port = 0
        self.admin_port = 0
        self.should_exit = asyncio.Event()
        self.force_exit = asyncio.Event()

    @property
    def queue_length(self) -> int:
        """Number of requests that wait for a backend, whether or not they are workload."""
        return len(self._dispatcher.router.queue)

    @property
    def open_requests(self) -> int:
        """Number of requests whose answer has not ended."""
        return self._state.open_requests

    @property
    def connections(self) -> int:
        """Number of clients' connections."""
        return self._table.count

    @property
    def held_by_connections(self) -> int:
        """Bytes that clients' connections hold beyond what each takes."""
        return self._table.held

    @property
    def closed_connections(self) -> Mapping[str, int]:
        """How many connections were closed so far, by ``ConnectionTable.REASONS``."""
        return self._table.closed

    def load(self) -> GatewayLoad:
        """Return the present load of this gateway."""
        return self._admin.load()

    def handle_exit(self) -> None:
        """Begin to drain; called again: end at once."""
        if self.should_exit.is_set():
            self.force_exit.set()
        self.should_exit.set()

    async def serve(self, address: ListenAddress) -> None:
        """Serve until ``handle_exit`` is called and the drain has ended; raises what ends discovery or the probes."""
        if self._models_file is not None:
            self._models_file.look()  # before the first request
        if self._certificate is not None:
            self._certificate.look()
        admin = AdminSite(self._admin.app())
        await admin.start(address.host, address.admin_port)
        self.admin_port = admin.port
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._discovery.run(self._publish)),
                    tasks.create_task(self._prober.run()),
                    tasks.create_task(ConnectionWatch(self._table, self._budget).run()),
                    tasks.create_task(keep_shares(self._share)),
                    *self.access.start(tasks),
                ]
                if self._models_file is not None:
                    background.append(tasks.create_task(self._models_file.run()))
                if self._certificate is not None:
                    background.append(tasks.create_task(self._certificate.run()))
                server = ClientServer(
                    self._handler.handle, table=self._table, share=self._share, on_refusal=self._handler.refused
                )
                listener = await self._startup(address, server)
                await self._main_loop()
                await self._shutdown(listener, server)
                for task in background:
                    task.cancel()
        finally:
            await admin.close()

    async def _startup(self, address: ListenAddress, server: ClientServer) -> asyncio.Server:
        listener = await listen(server, address.host, address.port, **self._tls())
        self.port = listener.sockets[0].getsockname()[1]
        self.started.set()
        LOGGER.info("gateway started", extra=fields(port=self.port, admin_port=self.admin_port))
        return listener

    def _tls(self) -> dict[str, Any]:
        """Return what makes the listener speak TLS."""
        if self._certificate is None:
            return {}
        return {"ssl": self._certificate.context, "ssl_handshake_timeout": _HANDSHAKE, "ssl_shutdown_timeout": 1.0}

    async def _main_loop(self) -> None:
        await self.should_exit.wait()

    async def _shutdown(self, listener: asyncio.Server, server: web.Server) -> None:
        self._state.draining = True
        LOGGER.info("draining", extra=fields(open_requests=self._state.open_requests))
        if self._share.stop():
            await asyncio.sleep(_READ_ON)  # what was sent and not read is no open request yet
        await self._wait(self._config.lame_duck)
        listener.close()
        await self._wait(self._config.drain, until_idle=True)
        await self._close(server)

    async def _wait(self, seconds: float, *, until_idle: bool = False) -> None:
        """Wait ``seconds``, or until ``force_exit``; ``until_idle``: or until no request is open."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (until_idle and self._state.open_requests == 0):
            try:
                async with asyncio.timeout(min(0.05, seconds)):
                    await self.force_exit.wait()
                    return
            except TimeoutError:
                continue

    async def _close(self, server: web.Server) -> None:
        if self._state.open_requests:
            LOGGER.warning("drain incomplete", extra=fields(open_requests=self._state.open_requests))
        self._dispatcher.close(f"the gateway is shutting down (drain limit {self._config.drain:g} s)")
        server.pre_shutdown()  # closes idle connections now, busy ones after their answer
        # Answers to requests that waited are still sent; whatever is in flight then is cut off.
        await server.shutdown(1.0)
        self._pools.keep_only(set())
        LOGGER.info("gateway stopped")

    def _take_models(self, models: ServedModels | None) -> None:
        self._known.tell_file(models)
        self._names_changed()

    def _names_changed(self) -> None:
        """Let no request wait for an adapter that is gone or refused, and forget what was counted of it."""
        self._dispatcher.router.demand.keep_only(self._known.names())
        if self._known.is_told:
            self._dispatcher.refuse(self._known.why_not)

    def _publish(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._state.synced = True
        self._pools.keep_only({(endpoint.host, endpoint.port) for endpoint in endpoints})
        self._known.tell_endpoints(endpoints)
        self._dispatcher.update(endpoints)
        self._names_changed()
        self._handler.move_streams()
        ready = sum(endpoint.ready for endpoint in endpoints)
        LOGGER.info("groups updated", extra=fields(known=len(endpoints), ready=ready))


async def run(
    config: GatewayConfig,
    discovery: Discovery,
    address: ListenAddress,
    *,
    access_log: bool,
    models: Path | None,
    credential: Callable[[], bytes],
    access: AccessControl,
    idle: Callable[[], float],
) -> None:
    """Run a gateway until SIGTERM or SIGINT; ``models``: the file with the names of models, if there may be one.

    ``credential`` gives the line of each request's head that engines ask for; ``idle`` how many seconds the loop has
    waited for something to do so far.
    """
    server = GatewayServer(
        config, discovery, access_log=access_log, models=models, credential=credential, access=access, idle=idle
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.handle_exit)
    await server.serve(address)


def _limits(config: GatewayConfig) -> Limits:
    return Limits(
        max_in_flight=config.max_in_flight_per_group,
        max_queue_length=config.max_queue_length,
        shed_after=config.shed_after,
        queue_timeout=config.queue_timeout,
        max_retries=config.max_retries,
        ejection=config.ejection,
    )

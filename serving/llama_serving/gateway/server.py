"""The process: two listeners, discovery, probes, and the way out.

On SIGTERM: /ready turns red and every answer asks its client to close the connection, but the listener goes on for
``lame_duck`` seconds, since it takes that long until nobody is sent here any more. Then it closes; what is in flight
or waits is finished, for ``drain`` seconds at most. A second signal ends at once.
"""

import asyncio
import signal
import time
from dataclasses import dataclass

from aiohttp import web

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig, GatewayLoad
from llama_serving.gateway.admin import AdminApi
from llama_serving.gateway.discovery import Discovery
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.handler import RequestHandler
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.router import Limits, Router
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import ConnectionPools
from llama_serving.gateway.upstream.health_probe import Prober

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; port 0 takes a free one."""

    host: str = "0.0.0.0"
    port: int = names.PORT_GATEWAY
    internal_port: int = names.PORT_GATEWAY_ADMIN


class GatewayServer:
    """One gateway. ``run`` is all of its life, ``stop`` what a signal calls. The ports are set when ``started`` is."""

    def __init__(self, config: GatewayConfig, discovery: Discovery, *, access_log: bool = False) -> None:
        self._config = config
        self._discovery = discovery
        self._metrics = Metrics()
        self._dispatcher = Dispatcher(Router(_limits(config)), time.monotonic)
        self._pools = ConnectionPools(connect_timeout=config.connect_timeout, clock=time.monotonic)
        self._proxy = RequestHandler(
            config,
            dispatcher=self._dispatcher,
            pools=self._pools,
            metrics=self._metrics,
            access_log=access_log,
        )
        self._internal = AdminApi(dispatcher=self._dispatcher, proxy=self._proxy, metrics=self._metrics)
        self.started = asyncio.Event()
        self.port = 0
        self.internal_port = 0
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    async def run(self, listen: ListenAddress) -> None:
        """Serve until ``stop`` is called and the drain has ended; raises what kills discovery or the probes."""
        internal = web.AppRunner(self._internal.app(), access_log=None)
        await internal.setup()
        await web.TCPSite(internal, listen.host, listen.internal_port).start()
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._discovery.run(self._publish)),
                    tasks.create_task(Prober(self._dispatcher).run()),
                ]
                await self._serve(listen, internal)
                for task in background:
                    task.cancel()
        finally:
            await internal.cleanup()

    def load(self) -> GatewayLoad:
        """Return what this gateway has to do now."""
        return self._internal.load()

    def stop(self) -> None:
        """Begin to drain; called again: end at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def _serve(self, listen: ListenAddress, internal: web.AppRunner) -> None:
        server = web.Server(self._proxy.handle, handler_cancellation=True, access_log=None, auto_decompress=False)
        listener = await asyncio.get_running_loop().create_server(
            server, listen.host, listen.port, backlog=_BACKLOG, reuse_address=True
        )
        self.port = listener.sockets[0].getsockname()[1]
        self.internal_port = internal.addresses[0][1]
        self.started.set()
        LOGGER.info("gateway serves", extra=fields(port=self.port, internal_port=self.internal_port))
        await self._stopping.wait()
        self._proxy.draining = True
        LOGGER.info("draining", extra=fields(open_requests=self._proxy.open_requests))
        await self._unless_at_once(self._config.lame_duck)
        listener.close()
        await self._unless_at_once(self._config.drain, until_idle=True)
        await self._end_rest(server)

    async def _unless_at_once(self, seconds: float, *, until_idle: bool = False) -> None:
        """Wait so long, or until a second signal, or until no request is open."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (until_idle and self._proxy.open_requests == 0):
            try:
                async with asyncio.timeout(min(0.05, seconds)):
                    await self._at_once.wait()
                    return
            except TimeoutError:
                continue

    async def _end_rest(self, server: web.Server) -> None:
        if self._proxy.open_requests:
            LOGGER.warning("the drain has taken too long", extra=fields(open_requests=self._proxy.open_requests))
        self._dispatcher.close(f"the gateway ends: it was stopped {self._config.drain:g} s ago")
        server.pre_shutdown()  # idle connections end here, busy ones after their answer
        # Answers to those that waited still go out; whatever is in flight then is cut off.
        await server.shutdown(1.0)
        self._pools.keep_only(set())
        LOGGER.info("gateway ends")

    def _publish(self, targets: tuple[Endpoint, ...]) -> None:
        self._internal.synced = True
        self._pools.keep_only({(target.host, target.port) for target in targets})
        self._dispatcher.update(targets)
        self._proxy.move_streams()
        ready = sum(target.ready for target in targets)
        LOGGER.info("groups", extra=fields(known=len(targets), ready=ready))


async def serve(config: GatewayConfig, discovery: Discovery, listen: ListenAddress, *, access_log: bool) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    service = GatewayServer(config, discovery, access_log=access_log)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    await service.run(listen)


def _limits(config: GatewayConfig) -> Limits:
    return Limits(
        in_flight=config.max_in_flight_per_group,
        waiting=config.max_waiting,
        wait=config.max_wait,
        retries=config.max_retries,
        ejection=config.ejection,
    )

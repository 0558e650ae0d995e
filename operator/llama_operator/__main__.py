"""``python -m llama_operator``: the operator's process; its settings come from the environment (see the chart)."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import aiohttp
import kopf
from kubernetes.aio import client

from llama_operator import admin
from llama_operator.adapters.gateways import HttpGateways
from llama_operator.adapters.kube import KubeCluster, connect
from llama_operator.adapters.leases import KubeLeases, KubeScopes
from llama_operator.adapters.supervisors import HttpSupervisors
from llama_operator.adapters.watching.budget import ObjectBudget
from llama_operator.edge.access_pass import reconcile_access, uses_access
from llama_operator.loop import Heartbeat
from llama_operator.metrics.registry import OperatorState
from llama_operator.plan.settings import API_SERVER_PORTS, Settings
from llama_operator.ports import Key, Manifest, Rejected
from llama_operator.reconcile import Bodies, Edges, reconcile
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_operator.scopes.listings import Listings
from llama_operator.scopes.readiness import Readiness
from llama_operator.scopes.scope import Scope
from llama_operator.scopes.sentences import lease_refused
from llama_operator.scopes.term import Terms
from llama_operator.status.obstacles import status_with_obstacle
from llama_operator.wiring import WATCHED, AccessLoops, Loops, build, watch
from llama_serving.config import names
from llama_serving.config.logs.lines import TEXT, set_up_log

log = logging.getLogger(__name__)

LEAVING = 8.0  # seconds for the release of the leases
GRACE = 20.0  # seconds from the signal to the end of the process; the chart gives 30


def settings_from(environment: dict[str, str]) -> Settings:
    """Images and namespace. Raises SystemExit with the name of what is missing."""
    missing = [name for name in ("LLAMA_SERVING_IMAGE", "LLAMA_GATEWAY_IMAGE") if not environment.get(name)]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} must be set to the images of the pods; the chart does it")
    return Settings(
        serving_image=environment["LLAMA_SERVING_IMAGE"],
        gateway_image=environment["LLAMA_GATEWAY_IMAGE"],
        operator_namespace=environment.get("POD_NAMESPACE", "default"),
        serving_gpu_image=environment.get("LLAMA_SERVING_GPU_IMAGE", ""),
        label_required=environment.get("SOURCES_REQUIRE_LABEL", "true") != "false",
        api_server_ports=_ports(environment.get("API_SERVER_PORTS", "")),
        source_cidrs=tuple(one for one in environment.get("SOURCE_CIDRS", "").split(",") if one),
        log_format=environment.get(names.ENV_LOG_FORMAT, TEXT),
        source_networks=_networks(environment.get(names.ENV_SOURCE_NETWORKS, "")),
        resolver_cpu=environment.get("LLAMA_RESOLVER_CPU") or Settings.resolver_cpu,
        resolver_memory=environment.get("LLAMA_RESOLVER_MEMORY") or Settings.resolver_memory,
    )


def _ports(text: str) -> tuple[int, ...]:
    """Return the ports in a list. Raises SystemExit for what is none."""
    try:
        return tuple(int(one) for one in text.split(",") if one) or API_SERVER_PORTS
    except ValueError:
        raise SystemExit(f"API_SERVER_PORTS is {text!r} and must be numbers with commas between them") from None


def _networks(text: str) -> tuple[str, ...]:
    """Return networks with commas between them. Raises SystemExit with the one that is none."""
    found = tuple(one.strip() for one in text.split(",") if one.strip())
    for one in found:
        try:
            ip_network(one)
        except ValueError as error:
            raise SystemExit(f"sources.networks: {one} is no network, such as 10.0.0.0/8: {error}") from error
    return found


class Process:
    """The operator's process: its edges, its loops, and the namespaces that it serves."""

    def __init__(self, api: client.ApiClient, session: aiohttp.ClientSession, settings: Settings) -> None:
        self.settings = settings
        self.heartbeat = Heartbeat(clock=time.monotonic)
        leases = KubeLeases(api, role=os.environ.get("OPERATOR_ROLE", ""))
        self.terms = Terms(me=identity(settings), leases=leases, clock=time.monotonic)
        self.cluster = KubeCluster(api, fence=self.terms.left, keys_changed=self.keys_changed)
        self.edges = Edges(self.cluster, HttpSupervisors(session), HttpGateways(session))
        self.loops = Loops(self.heartbeat, turn=self.terms.turn, ended=self.edges.forget)
        self.access_loops = Loops(self.heartbeat, turn=self.terms.small_turn)
        self.scopes = KubeScopes(api)
        self.listings = Listings(time.monotonic)
        self.budget = ObjectBudget()
        self.state = OperatorState(self.edges.autoscalers, self.edges.deployments)

    async def one_pass(self, bodies: Bodies) -> float:
        """Run one pass of a LlamaDeployment."""
        with self.edges.deployments.measured(bodies.deployment["metadata"], time.monotonic):
            return await reconcile(bodies, edges=self.edges, settings=self.settings, now=datetime.now(UTC))

    async def one_weights_pass(self, bodies: WeightsBodies) -> float:
        """Run one pass of a LlamaWeights."""
        return await reconcile_weights(
            bodies,
            cluster=self.cluster,
            settings=self.settings,
            now=datetime.now(UTC),
            inquiries=self.edges.inquiries,
            own_writes=self.edges.own_writes,
        )

    async def one_access_pass(self, body: Mapping[str, Any]) -> float:
        """Run one pass of the rules of keys of a LlamaDeployment."""
        faults = self.edges.access_faults
        return await reconcile_access(body, cluster=self.cluster, settings=self.settings, faults=faults)

    def keys_changed(self, namespace: str) -> None:
        """Hand rules to gateways at once, and report."""
        self.access_loops.wake_namespace(namespace)
        self.loops.wake_deployments(namespace)

    async def watch(self, namespace: str) -> None:
        """Watch a namespace, or all, and seek its lease, until a watch fails or the lease is refused."""
        registry = kopf.OperatorRegistry()
        access = AccessLoops(self.access_loops, uses_access, self.one_access_pass)
        guard = build(
            registry,
            loops=self.loops,
            one_pass=self.one_pass,
            one_weights_pass=self.one_weights_pass,
            access=access,
            listings=self.listings,
            budget=self.budget,
        )
        running = asyncio.create_task(watch(registry, namespace, begun=_take_signals))
        refused = asyncio.create_task(self._refused(namespace))
        try:
            await asyncio.wait([running, refused], return_when=asyncio.FIRST_COMPLETED)
            for task in (running, refused):
                if task.done():
                    task.result()
        finally:
            running.cancel()
            refused.cancel()
            await asyncio.gather(running, refused, return_exceptions=True)
            guard.close()
            await self.loops.stop(namespace)
            await self.access_loops.stop(namespace)
            await self.terms.resign(namespace)

    async def _refused(self, namespace: str) -> None:
        """Raise when the lease of the namespace is refused. Of all namespaces each has its lease when it is needed."""
        if not namespace:
            await asyncio.Event().wait()
        term = self.terms.of(namespace)
        await term.refused.wait()
        raise Rejected(lease_refused(term.problem))

    async def tell(self, body: Manifest, text: str) -> None:
        """Write on an object what keeps it from being served, where no other operator serves it."""
        meta = body["metadata"]
        status = status_with_obstacle(body, text, datetime.now(UTC))
        if status and self.terms.of(meta["namespace"]).held:
            await self.cluster.write_status(Key(meta["namespace"], meta["name"]), status, kind=body["kind"])

    async def leave(self) -> None:
        """End what writes, then let another operator have the leases, unless the API server does not answer."""
        try:
            async with asyncio.timeout(LEAVING):
                await self.loops.stop()
                await self.access_loops.stop()
                await self.terms.close()
        except TimeoutError:
            log.warning("the leases were not released within %.0f s; they end by themselves", LEAVING)


async def run(settings: Settings, namespaces: list[str], stop: asyncio.Event) -> None:
    """Run until ``stop``; with no namespaces, watch all of them."""
    async with await connect() as api, aiohttp.ClientSession() as session:
        process = Process(api, session, settings)
        scopes = tuple(Scope(namespace, WATCHED, listings=process.listings) for namespace in namespaces or [""])
        ready = Readiness(scopes, process.terms)
        port = int(os.environ.get("PROBE_PORT", admin.PORT))
        runner = await admin.serve(process.heartbeat, process.state, ready, port=port, listings=process.listings)
        tasks = [
            asyncio.create_task(scope.run(process.scopes, watch=process.watch, tell=process.tell)) for scope in scopes
        ]
        try:
            async with process.cluster:
                await _until(stop, tasks)
                _end_within(GRACE)
                await process.leave()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()


def _end_within(seconds: float) -> None:
    """End the process then, whatever hangs: an API server that does not answer, a task that is not cancelled.

    The leases that were not released by then end by themselves; every pass can be broken off anywhere.
    """
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the stop, or raise what ended a scope: only a bug does."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        task.result()


def identity(settings: Settings) -> str:
    """Name this process in leases. A container that is started again in its pod goes on under the same name."""
    return f"{settings.operator_namespace}/{socket.gethostname()}-{os.getpid()}"


_STOP = asyncio.Event()


def _take_signals() -> None:
    """End cleanly on SIGTERM; kopf takes the signals for itself whenever it begins to watch."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _STOP.set)


async def _main() -> None:
    _take_signals()
    namespaces = [name for name in os.environ.get("WATCH_NAMESPACES", "").split(",") if name]
    await run(settings_from(dict(os.environ)), namespaces, _STOP)


if __name__ == "__main__":
    set_up_log(os.environ, stream=sys.stderr, level=os.environ.get("LOG_LEVEL", "INFO"))
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line per watch event says nothing
    asyncio.run(_main())

"""``python -m llama_operator``: the operator's process; its settings come from the environment (see the chart)."""

import asyncio
import logging
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import kopf

from llama_operator import admin
from llama_operator.adapters.gateways import HttpGateways
from llama_operator.adapters.kube import KubeCluster, connect
from llama_operator.adapters.supervisors import HttpSupervisors
from llama_operator.loop import Heartbeat
from llama_operator.metrics.registry import OperatorState
from llama_operator.plan.settings import Settings
from llama_operator.reconcile import Bodies, Edges, reconcile
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_operator.wiring import build


def settings_from(environment: dict[str, str]) -> Settings:
    """Images and namespace. Raises SystemExit with the name of what is missing."""
    missing = [name for name in ("LLAMA_SERVING_IMAGE", "LLAMA_GATEWAY_IMAGE") if not environment.get(name)]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} must be set to the images of the pods; the chart does it")
    return Settings(
        serving_image=environment["LLAMA_SERVING_IMAGE"],
        gateway_image=environment["LLAMA_GATEWAY_IMAGE"],
        operator_namespace=environment.get("POD_NAMESPACE", "default"),
    )


async def run(settings: Settings, namespaces: list[str], stop: asyncio.Event) -> None:
    """Run until ``stop``; with no namespaces, watch all of them."""
    heartbeat = Heartbeat(clock=time.monotonic)
    api = await connect()
    async with api, aiohttp.ClientSession() as session:
        cluster = KubeCluster(api)
        edges = Edges(cluster, HttpSupervisors(session), HttpGateways(session))

        async def one_pass(bodies: Bodies) -> float:
            with edges.deployments.measured(bodies.deployment["metadata"], time.monotonic):
                return await reconcile(bodies, edges=edges, settings=settings, now=datetime.now(UTC))

        async def one_weights_pass(bodies: WeightsBodies) -> float:
            now = datetime.now(UTC)
            return await reconcile_weights(
                bodies, cluster=cluster, settings=settings, now=now, inquiries=edges.inquiries
            )

        registry = kopf.OperatorRegistry()
        build(
            registry,
            one_pass=one_pass,
            one_weights_pass=one_weights_pass,
            heartbeat=heartbeat,
            ended=edges.forget,
        )
        state = OperatorState(edges.autoscalers, edges.deployments)
        runner = await admin.serve(heartbeat, state, port=int(os.environ.get("PROBE_PORT", admin.PORT)))
        try:
            await kopf.operator(
                registry=registry,
                standalone=True,
                # Else kopf asks for the name of the user, which a pod's uid need not have.
                identity=cast(Any, "llama-operator"),
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=stop,
            )
        finally:
            await runner.cleanup()


async def _main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    namespaces = [name for name in os.environ.get("WATCH_NAMESPACES", "").split(",") if name]
    await run(settings_from(dict(os.environ)), namespaces, stop)


if __name__ == "__main__":
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line per watch event says nothing
    asyncio.run(_main())

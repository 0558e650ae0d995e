"""How soon a queue becomes pods, and what an idle deployment with autoscaling writes; on a real API server.

``python -m benchmarks.autoscaling.reaction [--steps 50] [--idle 300]``. The operator runs in this process as it runs in
its pod: kopf's watches, its loops, its client of the API server. There are no kubelet and no engine: behind the ports
``Cells`` and ``Gateways`` this program answers for them.

created   from the moment at which a gateway has requests waiting to the watch event of the last pod of the group
released  to the event that shows the last pod without its scheduling gate: the scheduler may place the group
idle      writes in the audit log, of two deployments with autoscaling on, one at zero groups and one with a group
"""

import argparse
import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
from kubernetes.aio import client, watch

from benchmarks.autoscaling.gateway_pod import make_gateway_pod, set_running
from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import API_VERSION, KIND, WEIGHTS_KIND
from llama_operator.loop import Heartbeat
from llama_operator.ports import Seal, SupervisorAnswer
from llama_operator.reconcile import Bodies, Edges, reconcile
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_operator.wiring import Loops, build
from llama_operator.wiring import watch as watch_namespace
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState
from llama_serving.config.gateway import GatewayLoad, WorkCount
from testbed import Bed
from testbed.audit import WRITES, received
from testbed.progress import step
from tests.contract.support.apiserver import ApiServer, client_of, control_plane
from tests.contract.support.stand import ACCEPTED, SETTINGS, Stand, file_of, give_rights, serving_cell
from tests.fakes.samples import CPU_SPEC

INSTANCE, NAMESPACE = "bench", "bench"
WAITING = 6
SEED = 20261124
SPEC = {**CPU_SPEC, "replicas": 0, "maxConcurrentRequests": 8, "autoscaling": {"minReplicas": 0, "maxReplicas": 4}}
STAGES = 2


@dataclass
class Machines:
    """The ports ``Cells`` and ``Gateways``: what pods would say, by their address."""

    gateways: dict[str, GatewayLoad] = field(default_factory=dict)
    cells: dict[str, tuple[dict[str, str], WeightsRef]] = field(default_factory=dict)  # labels, what it started with
    wishes: dict[str, DesiredState] = field(default_factory=dict)

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:  # noqa: ARG002 - of the port
        """Return the load of the gateway at this address."""
        return self.gateways.get(address)

    async def accepts(self, address: str, port: int) -> bool:
        """Refuse, as pods behind NetworkPolicies do."""
        del address, port
        return False

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        """Taken at once."""
        del seal
        assert token
        self.wishes[address] = desired
        return ""

    async def state(self, address: str) -> SupervisorAnswer:
        """Every cell serves what it was told."""
        if address not in self.cells:
            return SupervisorAnswer(None, "nobody is there")
        labels, weights = self.cells[address]
        return serving_cell(labels, self.wishes.get(address), starts_with=weights)


def gateway_load(uptime: float, waiting: int) -> GatewayLoad:
    """Make the load of a gateway at which so many requests have come and wait."""
    work = WorkCount(requests=waiting, prompt_tokens=100 * waiting, answer_tokens=200 * waiting)
    return GatewayLoad(
        waiting=waiting, oldest_wait=0.1 * bool(waiting), in_flight=0, draining=False, groups=(), totals={},
        uptime=uptime, arrived=work, waits=work,
    )  # fmt: skip


@asynccontextmanager
async def operator(edges: Edges) -> AsyncIterator[None]:
    """Run the operator as its process does, on these edges."""

    async def one_pass(bodies: Bodies) -> float:
        return await reconcile(bodies, edges=edges, settings=SETTINGS, now=datetime.now(UTC))

    async def one_weights_pass(bodies: WeightsBodies) -> float:
        now = datetime.now(UTC)
        return await reconcile_weights(bodies, cluster=edges.cluster, settings=SETTINGS, now=now)

    registry, loops = kopf.OperatorRegistry(), Loops(Heartbeat(clock=time.monotonic))
    build(registry, loops=loops, one_pass=one_pass, one_weights_pass=one_weights_pass)
    running = asyncio.create_task(watch_namespace(registry, NAMESPACE))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
        await loops.stop()


@dataclass
class Pods:
    """When the watch showed each stage pod for the first time, and when without its gate; monotonic seconds."""

    created: dict[str, float] = field(default_factory=dict)
    released: dict[str, float] = field(default_factory=dict)

    async def follow(self, api: client.ApiClient) -> None:
        """Watch until cancelled."""
        selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_STAGE}"
        listing = client.CoreV1Api(api).list_namespaced_pod
        async with watch.Watch() as stream:  # type: ignore[no-untyped-call]
            async for event in stream.stream(listing, namespace=NAMESPACE, label_selector=selector):
                pod, now = event["object"], time.monotonic()
                self.created.setdefault(pod.metadata.name, now)
                if not pod.spec.scheduling_gates:
                    self.released.setdefault(pod.metadata.name, now)

    def of(self, name: str, seen: dict[str, float]) -> list[float]:
        """Return the times of a deployment's pods."""
        return [at for pod, at in seen.items() if pod.startswith(f"{name}-")]


class Benchmark:
    """Deployments, their gateways, and what is measured of them."""

    def __init__(self, stand: Stand, machines: Machines, pods: Pods) -> None:
        self.stand, self.machines, self.pods = stand, machines, pods
        self.addresses = (f"10.9.{number // 250}.{number % 250 + 1}" for number in range(10_000))
        self.started = time.monotonic()

    async def weights_are_ready(self) -> None:
        """Have the weights checked as a user does; all deployments use them."""
        about = {"name": "checked"}
        body = {"apiVersion": API_VERSION, "kind": WEIGHTS_KIND, "metadata": about, "spec": CPU_SPEC["model"]}
        await asyncio.to_thread(self.stand.create, body)
        await until("the resolver's Job", lambda: self.stand.items("jobs") != [])
        await asyncio.to_thread(self.stand.run_job, ACCEPTED)
        await until("the weights are ready", lambda: bool(self.stand.items("llamaweights")[0]["status"].get("ready")))

    async def deploy(self, name: str, **spec: Any) -> str:
        """Create a deployment with a gateway pod, up to its first decision; returns the gateway's address."""
        address = next(self.addresses)
        self.machines.gateways[address] = gateway_load(1, 0)
        meta = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": {**SPEC, **spec}}
        await asyncio.to_thread(self.stand.create, body)
        await asyncio.to_thread(make_gateway_pod, self.stand, name, address)
        await until(f"{name} is decided on", lambda: self.status(name).get("autoscaling") is not None)
        return address

    def status(self, name: str) -> dict[str, Any]:
        """Status of a deployment."""
        found: dict[str, Any] = self.stand.get(KIND, name).get("status", {})
        return found

    async def react(self, number: int, chance: random.Random) -> tuple[float, float]:
        """One step of the queue at zero groups; seconds to the last pod made and released."""
        name = f"step-{number}"
        address = await self.deploy(name)
        await asyncio.sleep(1 + chance.random())  # no moment between two readings is special
        asked = time.monotonic()
        self.machines.gateways[address] = gateway_load(2, WAITING)
        done = self.pods.released
        await until(
            "the pods are released", lambda: len(self.pods.of(name, done)) >= STAGES, seen=lambda: self.status(name)
        )
        created, released = (max(sorted(self.pods.of(name, seen))[:STAGES]) for seen in (self.pods.created, done))
        await asyncio.to_thread(self._remove, name)
        return created - asked, released - asked

    def _remove(self, name: str) -> None:
        self.stand.kubectl("delete", KIND, name, "--wait=true", "--timeout=60s")
        selector = f"{names.LABEL_DEPLOYMENT}={name}"
        self.stand.kubectl("delete", "pods", "-l", selector, "--grace-period=0", "--force")

    async def serve(self, name: str) -> None:
        """Play the kubelet for the group of a deployment until it serves."""
        await until(f"{name} has its pods", lambda: len(self._stages(name)) == STAGES)
        files = await asyncio.to_thread(self.stand.items, "configmaps")
        for pod in await asyncio.to_thread(self._stages, name):
            self.machines.cells[next(self.addresses)] = (
                {**pod["metadata"]["labels"], "pod": pod["metadata"]["name"]},
                file_of(pod, files).weights,
            )
        for (labels, _), address in zip(self.machines.cells.values(), self.machines.cells, strict=True):
            await asyncio.to_thread(
                set_running, self.stand, labels["pod"], address, ready=labels[names.LABEL_STAGE] != "0"
            )

        def in_rotation() -> bool:
            leader = self._stages(name)[0]
            return any(
                (one["type"], one["status"]) == (names.GATE_IN_ROTATION, "True")
                for one in leader["status"]["conditions"]
            )

        await until(f"{name} may serve", in_rotation)
        ready = {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2}
        await asyncio.to_thread(self.stand.set_status, "deployment", f"{name}-gateway", ready)
        leader = (await asyncio.to_thread(self._stages, name))[0]
        conditions = [one for one in leader["status"]["conditions"] if one["type"] != "Ready"]
        status = {"conditions": [*conditions, {"type": "Ready", "status": "True"}]}
        await asyncio.to_thread(self.stand.set_status, "pod", leader["metadata"]["name"], status)
        await until(f"{name} serves", lambda: self.status(name).get("reason") == "Serving")

    def _stages(self, name: str) -> list[dict[str, Any]]:
        selector = f"{names.LABEL_DEPLOYMENT}={name},{names.LABEL_COMPONENT}={names.COMPONENT_STAGE}"
        pods = self.stand.items("pods", selector)
        return sorted(pods, key=lambda pod: str(pod["metadata"]["labels"][names.LABEL_STAGE]))


async def until(
    what: str, check: Callable[[], bool], *, within: float = 60, seen: Callable[[], object] = lambda: ""
) -> None:
    """Wait for a condition. Raises TimeoutError with what it was, and what was seen."""
    end = time.monotonic() + within
    while not await asyncio.to_thread(check):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within} s; {seen()}")
        await asyncio.sleep(0.05)


def quantile(values: list[float], share: float) -> float:
    """Nearest rank."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def _node(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    room = {"cpu": "64", "memory": "1Ti", "pods": "110"}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    return body, {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """Start a control plane of its own, with nodes that only exist on paper."""
    with control_plane(INSTANCE) as server:
        os.environ["KUBECONFIG"] = str(server.kubeconfig)
        server.run("create", "namespace", NAMESPACE)
        give_rights(server, NAMESPACE)
        yield server


def writes(since: datetime, until_: datetime) -> tuple[int, list[str]]:
    """Audit events of others than the API server itself in a span of time: all, and those that wrote."""
    events = [event for event in Bed(INSTANCE).audit(since) if received(event) < until_]
    others = [event for event in events if not event["user"].get("username", "").startswith("system:api")]
    return len(others), [f"{event['verb']} {event['requestURI']}" for event in others if event["verb"] in WRITES]


async def measure(server: ApiServer, *, steps: int, idle: float) -> None:
    """Both parts, printed."""
    machines, pods, chance = Machines(), Pods(), random.Random(SEED)
    async with await client_of(server) as api, KubeCluster(api) as cluster:
        stand = Stand(server, NAMESPACE, api)
        for number in range(4):
            body, status = _node(f"paper-{number}")
            await asyncio.to_thread(stand.create, body)
            await asyncio.to_thread(stand.set_status, "node", f"paper-{number}", status)
            # The API server taints a new node until a controller that is not here has seen it.
            await asyncio.to_thread(stand.change, "node", f"paper-{number}", {"spec": {"taints": None}})
        edges = Edges(cluster, machines, machines)
        following = asyncio.create_task(pods.follow(api))
        async with operator(edges):
            bench = Benchmark(stand, machines, pods)
            await bench.weights_are_ready()
            await reactions(bench, steps, chance)
            if idle:
                await idleness(bench, idle)
        following.cancel()


async def reactions(bench: Benchmark, steps: int, chance: random.Random) -> None:
    """Print the table of the steps."""
    found = []
    for number in range(steps):
        found.append(await bench.react(number, chance))
        if number % 10 == 9:
            print(f"{number + 1} of {steps} steps", flush=True)
    print(
        f"load average {os.getloadavg()[0]:.1f}\n\n| from the step in the queue | p50 | p99 | most |\n|---|---|---|---|"
    )
    for what, values in zip(("pods created", "pods released to the scheduler"), zip(*found, strict=True), strict=True):
        p50, p99 = quantile(list(values), 0.5), quantile(list(values), 0.99)
        print(f"| {what} | {p50:.2f} s | {p99:.2f} s | {max(values):.2f} s |")


async def idleness(bench: Benchmark, seconds: float) -> None:
    """Print what two idle deployments wrote."""
    await bench.deploy("idle-zero")
    await bench.deploy("idle-one", replicas=1, autoscaling={"minReplicas": 1, "maxReplicas": 4})
    await bench.serve("idle-one")
    with step(f"idle for {seconds:.0f} s"):
        since = datetime.now(UTC) + timedelta(seconds=5)
        await asyncio.sleep(seconds + 6)
    seen, wrote = writes(since, since + timedelta(seconds=seconds))
    print(f"\nidle for {seconds:.0f} s, zero groups and one group: {seen} requests, {len(wrote)} writes {wrote[:5]}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling.reaction", description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--idle", type=float, default=300, help="seconds; 0 leaves it out")
    asked = parser.parse_args()
    with api_server() as server:
        asyncio.run(measure(server, steps=asked.steps, idle=asked.idle))


if __name__ == "__main__":
    main()

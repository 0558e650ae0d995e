"""The cluster around the operator: made-up nodes, and a scheduler, kubelets, Jobs and supervisors that always do well.

Supervisors answer over real HTTP. A pod gets an address of 127.0.0.0/8, and one server on all of them tells by the
address that was asked which stage is meant.
"""

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from aiohttp import web
from kubernetes.aio import client

from llama_operator.adapters.api_calls import ApiCalls, Call, items_of
from llama_operator.adapters.kube import MERGE
from llama_operator.ports import Manifest, Rejected, Retry
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import Manifest as WeightsManifest
from llama_serving.config.weights import ManifestFile
from tests.contract.support.stand import ACCEPTED, file_of, serving_cell

NODES: Final = 100
DEVICES: Final = 64  # of each node
DEVICE: Final = "nvidia.com/gpu"
AT_ONCE: Final = 16  # writes of these fakes


@dataclass
class World:
    """Everything but the operator and the API server."""

    namespace: str
    calls: ApiCalls
    pods: dict[str, Manifest] = field(default_factory=dict)  # by address
    files: dict[str, Manifest] = field(default_factory=dict)  # ConfigMaps by name
    desired: dict[str, DesiredState] = field(default_factory=dict)  # by address
    done: set[tuple[str, str]] = field(default_factory=set)  # uid and what was done for it
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _numbers: "count[int]" = field(default_factory=lambda: count(256))
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Play the cluster until the block ends."""
        await self._make_nodes()
        runner = web.AppRunner(self._supervisors(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host="0.0.0.0", port=names.PORT_STATE).start()
        core, apps, batch = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
        followed = (
            (f"{core}/namespaces/{self.namespace}/configmaps", self._configmap),
            (f"{core}/namespaces/{self.namespace}/pods", self._pod),
            (f"{batch}/namespaces/{self.namespace}/jobs", self._job),
            (f"{apps}/namespaces/{self.namespace}/deployments", self._deployment),
        )
        tasks = [asyncio.create_task(self._follow(path, see)) for path, see in followed]
        try:
            yield
        finally:
            for task in (*tasks, *self._tasks):
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)
            await runner.cleanup()

    async def _make_nodes(self) -> None:
        # The address range of the test bed has room for 254 Services.
        more = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "scale"}}
        wide = {**more, "spec": {"cidrs": ["10.214.0.0/16"]}}
        await self.calls.send("POST", "/apis/networking.k8s.io/v1/servicecidrs", Call(body=wide, fine=(409,)))
        allocatable = {"cpu": "512", "memory": "4Ti", "pods": "1000", DEVICE: str(DEVICES)}
        status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
        for number in range(NODES):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"made-up-{number}"}}
            await self.calls.send("POST", "/api/v1/nodes", Call(body=node, fine=(409,)))
            path = f"/api/v1/nodes/made-up-{number}"
            await self.calls.send("PATCH", path, Call(body={"spec": {"taints": None}}, content=MERGE))
            await self.calls.send("PATCH", f"{path}/status", Call(body={"status": status}, content=MERGE))

    async def _follow(self, path: str, see: Callable[[Manifest], Awaitable[None]]) -> None:
        while True:
            try:
                page = await self.calls.send("GET", path) or {}
                for body in items_of(page):
                    self._play(see, body)
                query = {"resourceVersion": page["metadata"]["resourceVersion"]}
                async with aclosing(self.calls.watch(path, query)) as events:
                    async for event in events:
                        if event["type"] == "ERROR":
                            break
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self._play(see, event["object"])
            except (Retry, Rejected):
                await asyncio.sleep(0.5)

    def _play(self, see: Callable[[Manifest], Awaitable[None]], body: Manifest) -> None:
        task = asyncio.create_task(self._seen(see, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _seen(self, see: Callable[[Manifest], Awaitable[None]], body: Manifest) -> None:
        for _ in range(5):
            try:
                async with self._turn:
                    await see(body)
                break
            except Retry:
                await asyncio.sleep(0.5)
            except Rejected:  # it is gone, or it was done already
                break

    def _once(self, body: Manifest, what: str) -> bool:
        mark = (body["metadata"]["uid"], what)
        first = mark not in self.done
        self.done.add(mark)
        return first

    async def _configmap(self, body: Manifest) -> None:
        self.files[body["metadata"]["name"]] = body

    async def _pod(self, body: Manifest) -> None:
        """Bind a pod that the scheduler may see; run a pod that has a node."""
        if body["metadata"]["labels"].get(names.LABEL_COMPONENT) != names.COMPONENT_STAGE:
            return
        path = f"/api/v1/namespaces/{self.namespace}/pods/{body['metadata']['name']}"
        if not body["spec"].get("nodeName"):
            if not body["spec"].get("schedulingGates") and self._once(body, "bound"):
                target = {"apiVersion": "v1", "kind": "Node", "name": f"made-up-{next(self._numbers) % NODES}"}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": body["metadata"]["name"]}}
                await self.calls.send("POST", f"{path}/binding", Call(body={**binding, "target": target}))
            return
        conditions = {one["type"]: one["status"] for one in body.get("status", {}).get("conditions", ())}
        gates = [gate["conditionType"] for gate in body["spec"].get("readinessGates", ())]
        ready = all(conditions.get(gate) == "True" for gate in gates)
        if not self._once(body, f"ready {ready}"):
            return
        address = body.get("status", {}).get("podIP") or self._address()
        self.pods[address] = body
        kept = [one for one in body.get("status", {}).get("conditions", ()) if one["type"] in gates]
        said = {"ContainersReady": "True", "PodScheduled": "True", "Ready": str(ready)}
        status = {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [*kept, *({"type": kind, "status": value} for kind, value in said.items())],
        }  # fmt: skip
        await self.calls.send("PATCH", f"{path}/status", Call(body={"status": status}, content=MERGE))

    def _address(self) -> str:
        number = next(self._numbers)
        return f"127.{1 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"

    async def _job(self, job: Manifest) -> None:
        """Run the Job of some weights to its good end."""
        if not self._once(job, "run"):
            return
        meta, template = job["metadata"], job["spec"]["template"]
        where, _, name = _argument(template, "--config-map").partition("/")
        manifest = manifest_of(meta["name"])
        packed = base64.b64encode(gzip.compress(manifest.model_dump_json().encode())).decode()
        data = {"binaryData": {MANIFEST_KEY: packed}}
        await self.calls.send("PATCH", f"/api/v1/namespaces/{where}/configmaps/{name}", Call(body=data, content=MERGE))
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        about = {
            "name": f"{meta['name']}-x", "labels": template["metadata"]["labels"], "ownerReferences": [owner]
        }  # fmt: skip
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        await self.calls.send("POST", pods, Call(body={"apiVersion": "v1", "kind": "Pod", "metadata": about,
                                                       "spec": template["spec"]}, fine=(409,)))  # fmt: skip
        report = ACCEPTED.model_copy(update={"digest": manifest.digest})
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"exitCode": 0, "message": report.model_dump_json(), "finishedAt": moment}
        container = {"name": "resolver", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        await self.calls.send("PATCH", f"{pods}/{about['name']}/status", Call(body={"status": status}, content=MERGE))

    async def _deployment(self, body: Manifest) -> None:
        """Start the gateways."""
        wanted = body["spec"].get("replicas", 1)
        if self._once(body, f"started {body['metadata']['generation']}"):
            kinds = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")
            status = {**dict.fromkeys(kinds, wanted), "observedGeneration": body["metadata"]["generation"]}
            path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{body['metadata']['name']}/status"
            await self.calls.send("PATCH", path, Call(body={"status": status}, content=MERGE))

    def _supervisors(self) -> web.Application:
        app = web.Application()
        app.router.add_get(names.ROUTE_STATE, self._get_state)
        app.router.add_put(names.ROUTE_DESIRED, self._put_desired)
        return app

    async def _get_state(self, request: web.Request) -> web.Response:
        pod = self.pods.get(_asked(request))
        if pod is None:
            return web.Response(status=503)
        starts_with = file_of(pod, self.files.values()).weights
        answer = serving_cell(pod["metadata"]["labels"], self.desired.get(_asked(request)), starts_with=starts_with)
        assert answer.state is not None
        return web.Response(text=answer.state.model_dump_json(), content_type="application/json")

    async def _put_desired(self, request: web.Request) -> web.Response:
        self.desired[_asked(request)] = DesiredState.model_validate(json.loads(await request.text()))
        return web.Response()


def manifest_of(job: str) -> WeightsManifest:
    """Return what the Job of this name finds: every model has files of its own."""
    return WeightsManifest(
        files=(ManifestFile(path="config.json", size=7, sha256=hashlib.sha256(job.encode()).hexdigest()),)
    )


def _asked(request: web.Request) -> str:
    """Return the address that was asked."""
    transport = request.transport
    address: str = transport.get_extra_info("sockname")[0] if transport else ""
    return address


def _argument(template: Manifest, name: str) -> str:
    arguments: list[str] = template["spec"]["containers"][0]["args"]
    return arguments[arguments.index(name) + 1]


async def world_of(api: client.ApiClient, namespace: str) -> World:
    """Return a world whose fakes speak as the administrator."""
    return World(namespace, ApiCalls(api))


def deployment(name: str, number: int) -> dict[str, Any]:
    """Return a LlamaDeployment of one group of two stages with three devices each, with a model of its own."""
    model = {"source": "pvc://models/m", "revision": f"v{number}", "license": "apache-2.0", "acceptLicense": True}
    spec = {
        "model": model, "contextLength": 2048, "replicas": 1, "sharding": {"pipeline": 2, "tensor": 3},
        "device": {"resource": DEVICE, "count": 3},
    }  # fmt: skip
    return {"metadata": {"name": name}, "spec": spec}

"""Real kopf with our wiring against kmock, an API server's HTTP side in this process; passes are recorded."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
import yaml

from llama_operator.api import ADAPTERS_KIND, ADAPTERS_PLURAL, API_VERSION, KIND, PLURAL, WEIGHTS_KIND, WEIGHTS_PLURAL
from llama_operator.edge.access_pass import uses_access
from llama_operator.loop import Heartbeat
from llama_operator.reconcile import Bodies
from llama_operator.reconcile_weights import WeightsBodies
from llama_operator.wiring import CHILDREN, AccessLoops, Loops, build, watch
from llama_serving.config import names

NAMESPACE = "team"
DEADLINE_S = 20.0  # for a condition; the machine may be busy


class Operator:
    """A running operator and the passes it made."""

    def __init__(self) -> None:
        self.passes: list[Bodies] = []
        self.weights_passes: list[WeightsBodies] = []
        self.failures: list[Exception] = []  # raised by the next passes
        self.heartbeat = Heartbeat(clock=time.monotonic)
        self.ended: list[str] = []  # uids of objects whose loops have ended
        self.loops = Loops(self.heartbeat, ended=self.ended.append)
        self.access_passes: list[dict[str, Any]] = []
        self.access_loops = Loops(self.heartbeat)

    async def one_pass(self, bodies: Bodies) -> float:
        self.passes.append(bodies)
        if self.failures:
            raise self.failures.pop()
        return 30.0

    async def one_weights_pass(self, bodies: WeightsBodies) -> float:
        self.weights_passes.append(bodies)
        return 30.0

    async def one_access_pass(self, body: Mapping[str, Any]) -> float:
        self.access_passes.append(dict(body))
        return 30.0

    def passes_of(self, name: str) -> list[Bodies]:
        return [one for one in self.passes if one.deployment["metadata"]["name"] == name]

    def woken(self, name: str, since: int) -> list[Bodies]:
        """Passes after the first ``since`` of a deployment that an event of something else must have begun.

        Its own events may come late on a busy machine; each shows something new in its body.
        """
        passes = self.passes_of(name)
        return [after for before, after in pairwise(passes[since - 1 :]) if after.deployment == before.deployment]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the condition; say what was seen instead when it does not come."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not condition():
            seen = [(one.deployment["metadata"]["name"], len(one.children)) for one in self.passes]
            assert asyncio.get_running_loop().time() < deadline, f"{what}: not after {DEADLINE_S} s; passes: {seen}"
            await asyncio.sleep(0.02)

    async def quiet(self, seconds: float = 0.8) -> None:
        """Until no pass has started for a while: longer than the floor between two passes."""
        loop = asyncio.get_running_loop()
        count, since = -1, loop.time()
        while loop.time() - since < seconds:
            if len(self.passes) + len(self.weights_passes) != count:
                count, since = len(self.passes) + len(self.weights_passes), loop.time()
            await asyncio.sleep(0.05)


class Api:
    """The user and the cluster's controllers, through the HTTP side."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._versions = 100

    async def create(self, path: str, body: dict[str, Any], *, namespace: str = NAMESPACE) -> None:
        self._versions += 1
        body["metadata"] |= {"namespace": namespace, "resourceVersion": str(self._versions)}
        body["metadata"].setdefault("uid", f"uid-{path}-{body['metadata']['name']}-{self._versions}")
        async with self._session.post(self._collection(path, namespace), json=body) as response:
            assert response.status < 300, await response.text()

    async def patch(self, path: str, name: str, body: dict[str, Any]) -> None:
        self._versions += 1
        body = {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": str(self._versions)}}
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(f"{self._collection(path)}/{name}", json=body, headers=headers) as response:
            assert response.status < 300, await response.text()

    async def delete(self, path: str, name: str) -> None:
        async with self._session.delete(f"{self._collection(path)}/{name}") as response:
            assert response.status < 300, await response.text()

    async def get(self, path: str, name: str) -> dict[str, Any] | None:
        async with self._session.get(f"{self._collection(path)}/{name}") as response:
            if response.status == 404:
                return None
            body: dict[str, Any] = await response.json()
            return body

    def _collection(self, path: str, namespace: str = NAMESPACE) -> str:
        version, _, plural = path.rpartition("/")
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        return f"{self._url}{root}/namespaces/{namespace}/{plural}"


LLD = f"{API_VERSION}/{PLURAL}"
LLW = f"{API_VERSION}/{WEIGHTS_PLURAL}"
LLA = f"{API_VERSION}/{ADAPTERS_PLURAL}"


def deployment(name: str) -> dict[str, Any]:
    """A LlamaDeployment; the recorded pass does not look into its spec."""
    meta = {"name": name, "generation": 1}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": {"replicas": 1}}


def weights(name: str) -> dict[str, Any]:
    """A LlamaWeights, likewise."""
    meta = {"name": name, "generation": 1}
    return {"apiVersion": API_VERSION, "kind": WEIGHTS_KIND, "metadata": meta, "spec": {"source": "pvc://m"}}


def adapter(name: str) -> dict[str, Any]:
    """A LlamaAdapter, likewise."""
    return {**weights(name), "kind": ADAPTERS_KIND}


def child_of_adapter(kind: str, version: str, *, name: str, owner: str) -> dict[str, Any]:
    labels = {names.LABEL_ADAPTER: owner, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def child_of_weights(kind: str, version: str, *, name: str, owner: str) -> dict[str, Any]:
    labels = {names.LABEL_WEIGHTS: owner, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def child_pod(name: str, owner: str) -> dict[str, Any]:
    labels = {names.LABEL_DEPLOYMENT: owner, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {}}


def _resource(kind: str) -> dict[str, Any]:
    return {
        "kind": kind, "singular": kind.lower(), "namespaced": True, "shortnames": [], "categories": [],
        "verbs": ["list", "watch", "patch", "get", "create", "delete"], "subresources": ["status"],
    }  # fmt: skip


@pytest.fixture
async def api(kmock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API server that kopf finds through KUBECONFIG, as it does outside a cluster."""
    kmock.resources[LLD] = _resource(KIND)
    kmock.resources[LLW] = _resource(WEIGHTS_KIND)
    kmock.resources[LLA] = _resource(ADAPTERS_KIND)
    for version, plural in CHILDREN:
        kmock.resources[f"{version}/{plural}"] = _resource(plural.title())
    # kopf waits for these two to be served, though it is told not to look at them.
    kmock.resources["v1/namespaces"] = _resource("Namespace") | {"namespaced": False}
    kmock.resources["apiextensions.k8s.io/v1/customresourcedefinitions"] = _resource("CustomResourceDefinition") | {
        "namespaced": False
    }
    url = str(kmock.url).rstrip("/")
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    async with aiohttp.ClientSession() as session:
        yield Api(url, session)


@asynccontextmanager
async def operator_running(namespace: str = "") -> AsyncIterator[Operator]:
    """An operator that watches until the block ends."""
    running = Operator()
    registry = kopf.OperatorRegistry()
    build(
        registry,
        loops=running.loops,
        one_pass=running.one_pass,
        one_weights_pass=running.one_weights_pass,
        access=AccessLoops(running.access_loops, uses_access, running.one_access_pass),
    )
    ready = asyncio.Event()
    task = asyncio.create_task(watch(registry, namespace, begun=ready.set))
    try:
        await running.until(lambda: ready.is_set() or task.done(), "the operator starts")
        yield running
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=20)
        await running.loops.stop()
        await running.access_loops.stop()

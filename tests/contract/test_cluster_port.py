"""The port ``Cluster``: one suite on the fake that the component tests trust and on the real API server."""

import json
import socket
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import yaml
from kubernetes.aio import client, config

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import API_VERSION, KIND, LlamaDeploymentStatus
from llama_operator.manifests.gateway import token_secret
from llama_operator.ports import Cluster, Key, Manifest, Notice, Owner, Ref, Rejected, Retry
from llama_operator.reconcile import Bodies, snapshot
from llama_operator.wiring import CHILDREN, OWNED
from llama_serving.config import names
from tests.contract.apiserver import ApiServer
from tests.fakes.cluster import FakeCluster
from tests.fakes.samples import CPU_SPEC, SAMPLES, all_changes, context_of

NAME = "chat"


class Bench(Protocol):
    """A cluster with a LlamaDeployment in it, and what others can do to it."""

    cluster: Cluster
    key: Key

    def read(self, kind: str, name: str) -> Manifest | None: ...

    def change(self, kind: str, name: str, patch: Manifest) -> None:
        """Somebody else changes an object."""

    def remove(self, kind: str, name: str) -> None: ...

    def event_count(self, reason: str) -> int: ...


class FakeBench:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.key = Key("team", NAME)
        self.cluster.create_deployment(self.key, CPU_SPEC)

    def read(self, kind: str, name: str) -> Manifest | None:
        return self.cluster.objects.get((kind, name))

    def change(self, kind: str, name: str, patch: Manifest) -> None:
        merge(self.cluster.objects[kind, name], patch)

    def remove(self, kind: str, name: str) -> None:
        self.cluster.vanish(kind, name)

    def event_count(self, reason: str) -> int:
        return sum(event.reason == reason for event in self.cluster.events)


class RealBench:
    def __init__(self, apiserver: ApiServer, namespace: str, api: client.ApiClient) -> None:
        self.cluster = KubeCluster(api, rooms_age=0)
        self.key = Key(namespace, NAME)
        self._apiserver = apiserver
        meta = {"name": NAME, "namespace": namespace}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": CPU_SPEC}
        apiserver.run("create", "-f", "-", stdin=yaml.safe_dump(body))

    def read(self, kind: str, name: str) -> Manifest | None:
        text = self._apiserver.run("get", kind, name, "-n", self.key.namespace, "-o", "json", "--ignore-not-found")
        found: Manifest | None = json.loads(text) if text else None
        return found

    def change(self, kind: str, name: str, patch: Manifest) -> None:
        where = ("-n", self.key.namespace, "--type=merge", "--field-manager=somebody", f"--patch={json.dumps(patch)}")
        self._apiserver.run("patch", kind, name, *where)

    def remove(self, kind: str, name: str) -> None:
        self._apiserver.run("delete", kind, name, "-n", self.key.namespace, "--grace-period=0", "--force")

    def event_count(self, reason: str) -> int:
        events = json.loads(self._apiserver.run("get", "events", "-n", self.key.namespace, "-o", "json"))["items"]
        return sum(event.get("count", 1) for event in events if event["reason"] == reason)


def merge(target: Any, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


@pytest.fixture
async def real(request: pytest.FixtureRequest) -> AsyncIterator[RealBench]:
    apiserver = request.getfixturevalue("apiserver")
    async with await client_of(apiserver) as api:
        yield RealBench(apiserver, request.getfixturevalue("namespace"), api)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = FakeBench() if request.param == "fake" else request.getfixturevalue("real")
    return found


async def client_of(apiserver: ApiServer) -> client.ApiClient:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(apiserver.kubeconfig), client_configuration=configuration)
    return client.ApiClient(configuration)


def config_map(bench: Bench, **data: str) -> Manifest:
    meta = {"name": "notes", "namespace": bench.key.namespace, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def seen(bench: Bench, kind: str, name: str) -> Manifest:
    found = bench.read(kind, name)
    assert found is not None, f"{kind} {name} is not there"
    return found


# -- apply -----------------------------------------------------------------------------------------------------------


async def test_apply_creates_updates_and_removes_what_is_no_longer_set(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1", y="1"), force=False)
    uid = seen(bench, "ConfigMap", "notes")["metadata"]["uid"]
    await bench.cluster.apply(bench.key, config_map(bench, x="2"), force=False)
    found = seen(bench, "ConfigMap", "notes")
    assert found["data"] == {"x": "2"}
    assert found["metadata"]["uid"] == uid


async def test_apply_with_force_takes_over_a_field_that_somebody_changed_and_leaves_others(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    bench.change("ConfigMap", "notes", {"data": {"x": "theirs", "z": "theirs"}})
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    assert seen(bench, "ConfigMap", "notes")["data"] == {"x": "1", "z": "theirs"}


async def test_apply_without_force_does_not_touch_an_object_of_somebody_else(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    bench.change("ConfigMap", "notes", {"data": {"x": "theirs"}})
    with pytest.raises(Rejected, match="conflict"):
        await bench.cluster.apply(bench.key, config_map(bench, x="1", y="1"), force=False)
    assert seen(bench, "ConfigMap", "notes")["data"] == {"x": "theirs"}


async def test_apply_of_the_same_again_changes_nothing(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    before = seen(bench, "ConfigMap", "notes")["metadata"].get("resourceVersion")
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    assert seen(bench, "ConfigMap", "notes")["metadata"].get("resourceVersion") == before


@pytest.mark.apiserver
async def test_what_validation_refuses_is_rejected_with_its_sentence(real: RealBench) -> None:
    bad = config_map(real) | {"data": {"bad key": "x"}}
    with pytest.raises(Rejected, match="bad key"):
        await real.cluster.apply(real.key, bad, force=False)
    meta = {"name": "other", "namespace": real.key.namespace}
    spec = {**CPU_SPEC, "replicas": 0}
    with pytest.raises(Rejected, match="replicas must be at least 1"):
        await real.cluster.apply(
            real.key, {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}, force=False
        )


# -- delete ----------------------------------------------------------------------------------------------------------


async def test_delete(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    uid = seen(bench, "ConfigMap", "notes")["metadata"]["uid"]
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", "another-uid"))
    assert bench.read("ConfigMap", "notes") is not None
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", uid))
    assert bench.read("ConfigMap", "notes") is None
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", uid))  # what is gone is gone


async def a_pod(bench: Bench) -> Manifest:
    context = context_of(CPU_SPEC, key=bench.key)
    world = snapshot(Bodies({"metadata": {"namespace": bench.key.namespace, "name": NAME}, "spec": CPU_SPEC}, ()))
    pod = next(write.manifest for write in all_changes(context, world).applies if write.manifest["kind"] == "Pod")
    await bench.cluster.apply(bench.key, pod, force=False)
    return seen(bench, "Pod", pod["metadata"]["name"])


async def test_delete_of_a_pod_that_runs_on_a_node_gives_it_its_grace(bench: Bench) -> None:
    pod = await a_pod(bench)
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    bind(bench, name)
    await bench.cluster.delete(bench.key, Ref("v1", "Pod", name, uid), grace=7)
    meta = seen(bench, "Pod", name)["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 7
    assert "deletionTimestamp" in meta
    await bench.cluster.delete(bench.key, Ref("v1", "Pod", name, uid), grace=0)
    assert bench.read("Pod", name) is None


def bind(bench: Bench, name: str) -> None:
    """What the scheduler does."""
    if isinstance(bench, FakeBench):
        bench.change("Pod", name, {"spec": {"nodeName": "node-0"}})
        return
    assert isinstance(bench, RealBench)
    target = {"apiVersion": "v1", "kind": "Node", "name": "node-0"}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{bench.key.namespace}/pods/{name}/binding"
    bench._apiserver.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


# -- rotation --------------------------------------------------------------------------------------------------------


async def test_rotation_sets_gate_and_annotation(bench: Bench) -> None:
    pod = await a_pod(bench)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    await bench.cluster.set_rotation(bench.key, ref, open_=True, reason="the engine answers", weights="v1")
    found = seen(bench, "Pod", ref.name)
    assert found["metadata"]["annotations"][names.ANNOTATION_WEIGHTS] == "v1"
    assert gate(found) == ("True", "the engine answers")
    await bench.cluster.set_rotation(bench.key, ref, open_=False, reason="the group leaves", weights="")
    found = seen(bench, "Pod", ref.name)
    assert found["metadata"]["annotations"][names.ANNOTATION_WEIGHTS] == "v1"
    assert gate(found) == ("False", "the group leaves")


async def test_rotation_of_another_or_a_vanished_pod_changes_nothing(bench: Bench) -> None:
    pod = await a_pod(bench)
    other = Ref("v1", "Pod", pod["metadata"]["name"], "another-uid")
    await bench.cluster.set_rotation(bench.key, other, open_=True, reason="x", weights="v1")
    found = seen(bench, "Pod", other.name)
    assert names.ANNOTATION_WEIGHTS not in found["metadata"].get("annotations", {})
    assert gate(found) is None
    gone = Ref("v1", "Pod", "nobody", "uid")
    await bench.cluster.set_rotation(bench.key, gone, open_=True, reason="x", weights="v1")


def gate(pod: Manifest) -> tuple[str, str] | None:
    conditions = pod.get("status", {}).get("conditions", ())
    found = [(one["status"], one["message"]) for one in conditions if one["type"] == names.GATE_IN_ROTATION]
    return found[0] if found else None


# -- token, status, events, rooms ------------------------------------------------------------------------------------


async def test_the_token_is_drawn_once_and_kept(bench: Bench) -> None:
    wanted = token_secret(context_of(CPU_SPEC, key=bench.key))
    await bench.cluster.ensure_token(bench.key, wanted)
    first = secret_data(seen(bench, "Secret", "chat-token"))
    await bench.cluster.ensure_token(bench.key, wanted)
    assert secret_data(seen(bench, "Secret", "chat-token")) == first
    assert len(first) == 1


def secret_data(secret: Manifest) -> Manifest:
    found: Manifest = secret.get("data") or secret["stringData"]
    return found


async def test_the_token_of_an_earlier_object_is_waited_for_and_one_of_nobody_is_refused(bench: Bench) -> None:
    earlier = token_secret(context_of(CPU_SPEC, key=bench.key, uid="earlier"))
    await bench.cluster.ensure_token(bench.key, earlier)
    wanted = token_secret(context_of(CPU_SPEC, key=bench.key))
    with pytest.raises(Retry, match="earlier object"):
        await bench.cluster.ensure_token(bench.key, wanted)
    bench.change("Secret", "chat-token", {"metadata": {"ownerReferences": []}})
    with pytest.raises(Rejected, match="belongs to nobody"):
        await bench.cluster.ensure_token(bench.key, wanted)


def some_status(message: str) -> Manifest:
    return LlamaDeploymentStatus(observed_generation=1, reason="Serving", message=message).to_api()


async def test_status_is_written_without_touching_the_spec(bench: Bench) -> None:
    await bench.cluster.write_status(bench.key, some_status("one"))
    await bench.cluster.write_status(bench.key, some_status("two"))
    found = seen(bench, KIND, NAME)
    assert found["status"]["message"] == "two"
    assert found["metadata"]["generation"] == 1
    assert LlamaDeploymentStatus.model_validate(found["status"]) == LlamaDeploymentStatus.model_validate(
        some_status("two")
    )


async def test_status_of_a_vanished_object_is_no_error_and_makes_none(bench: Bench) -> None:
    bench.remove(KIND, NAME)
    await bench.cluster.write_status(bench.key, some_status("one"))
    assert bench.read(KIND, NAME) is None


async def test_an_event_again_is_counted(bench: Bench) -> None:
    owner = Owner(bench.key, seen(bench, KIND, NAME)["metadata"]["uid"], API_VERSION, KIND)
    for _ in range(2):
        await bench.cluster.emit(owner, Notice(True, "Unschedulable", "pod chat-0 needs 4 cpu"))
    await bench.cluster.emit(owner, Notice(False, "Serving", "2 group(s) serve from 2 node(s)"))
    assert bench.event_count("Unschedulable") == 2
    assert bench.event_count("Serving") == 1


@pytest.mark.apiserver
async def test_rooms_count_what_pods_on_a_node_ask_for(real: RealBench) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{real.key.namespace}", "labels": {"a": "b"}},
    }
    real._apiserver.run("create", "-f", "-", stdin=json.dumps(node))
    name = node["metadata"]["name"]
    status = {
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
    }
    real._apiserver.run("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={json.dumps(status)}")
    resources = {"requests": {"cpu": "1500m", "memory": "1Gi"}}
    spec = {"nodeName": name, "containers": [{"name": "c", "image": "i", "resources": resources}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": real.key.namespace}, "spec": spec}
    real._apiserver.run("create", "-f", "-", stdin=json.dumps(body))
    rooms = {room.name: room for room in await real.cluster.rooms() or ()}
    assert rooms[name].allocatable == {"cpu": 4.0, "memory": 8 * 2**30}
    assert rooms[name].requested == {"cpu": 1.5, "memory": 2**30}
    assert (rooms[name].ready, rooms[name].labels["a"]) == (True, "b")


async def test_an_api_server_that_is_gone_is_a_retry() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    async with client.ApiClient(configuration) as api:
        cluster = KubeCluster(api)
        with pytest.raises(Retry, match="did not answer"):
            await cluster.write_status(Key("team", NAME), {})
        with pytest.raises(Retry, match="did not answer"):
            await cluster.rooms()


# -- the guarantee that nothing is written when nothing changed ------------------------------------------------------

AMOUNTS = [
    {"cpu": "0.5", "memory": "1024Mi", "sharedMemory": "0.25Gi"},
    {"cpu": "1000m", "memory": "1Gi", "sharedMemory": "67108864"},
    {"cpu": 2, "memory": 2_147_483_648, "sharedMemory": "100M"},
]
SPECS = [
    *(pytest.param(spec, id=name) for name, spec in SAMPLES.items()),
    *(pytest.param({**CPU_SPEC, "resources": one, "gateway": {"resources": {
        "cpu": one["cpu"], "memory": one["memory"]}}}, id=str(one["cpu"])) for one in AMOUNTS),
]  # fmt: skip


@pytest.mark.apiserver
@pytest.mark.parametrize("spec", SPECS)
async def test_the_server_takes_all_manifests_and_reading_them_back_leaves_nothing_to_write(
    real: RealBench, spec: dict[str, Any]
) -> None:
    real._apiserver.run("label", "namespace", real.key.namespace, "pod-security.kubernetes.io/enforce=restricted")
    if "placement" in spec:
        spec = {**spec, "placement": {**spec["placement"], "priorityClassName": "system-node-critical"}}
    body = seen(real, KIND, NAME) | {"spec": spec}
    context = context_of(spec, key=real.key, uid=body["metadata"]["uid"])
    due = all_changes(context, snapshot(Bodies(body, ())))
    for write in due.applies:
        await real.cluster.apply(real.key, write.manifest, force=write.force)
    children = list_children(real)
    assert len(children) == len(due.applies)
    again = all_changes(context, snapshot(Bodies(body, children)))
    left = [write.manifest for write in again.applies if write.manifest["kind"] != "Pod"]
    assert left == []
    assert again.prunes == ()
    assert again.holds == ()
    versions = {child["metadata"]["name"]: child["metadata"]["resourceVersion"] for child in children}
    for write in due.applies:  # the same again, as after a lost answer
        await real.cluster.apply(real.key, write.manifest, force=write.force)
    assert {
        child["metadata"]["name"]: child["metadata"]["resourceVersion"] for child in list_children(real)
    } == versions


def list_children(bench: RealBench) -> list[Manifest]:
    """What the watches would show, whole."""
    kinds = ",".join(plural for _, plural in CHILDREN)
    text = bench._apiserver.run("get", kinds, "-n", bench.key.namespace, "-l", OWNED, "-o", "json")
    items: list[Manifest] = json.loads(text)["items"]
    return items

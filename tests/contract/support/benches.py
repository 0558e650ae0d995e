"""Two clusters behind the port ``Cluster``: the fake that the component tests trust, and the real API server."""

from datetime import datetime
from typing import Any, Protocol

from kubernetes.aio import client

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import API_VERSION, KIND
from llama_operator.hashing import short_hash
from llama_operator.ports import Cluster, Key, Manifest
from tests.contract.support.apiserver import ApiServer
from tests.fakes.cluster import FakeCluster, stamp
from tests.fakes.samples import CPU_SPEC

NAME = "chat"


class Bench(Protocol):
    """A cluster with a LlamaDeployment in it, and what others can do to it."""

    key: Key

    @property
    def cluster(self) -> Cluster: ...

    def read(self, kind: str, name: str) -> Manifest | None: ...

    def change(self, kind: str, name: str, patch: Manifest) -> None:
        """Somebody else changes an object."""

    def remove(self, kind: str, name: str) -> None: ...

    def event_count(self, reason: str) -> int: ...

    def record(self, about: Manifest, reason: str, message: str, *, at: datetime) -> None:
        """Somebody else records an event about an object."""


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

    def record(self, about: Manifest, reason: str, message: str, *, at: datetime) -> None:
        self.cluster.now = at
        self.cluster.record(about, reason, message)


class RealBench:
    def __init__(self, apiserver: ApiServer, namespace: str, api: client.ApiClient) -> None:
        self.cluster = KubeCluster(api)
        self.key = Key(namespace, NAME)
        self.rest = apiserver.rest
        meta = {"name": NAME, "namespace": namespace}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": CPU_SPEC}
        self.rest.create(namespace, body)

    def read(self, kind: str, name: str) -> Manifest | None:
        return self.rest.find(self.key.namespace, kind, name)

    def change(self, kind: str, name: str, patch: Manifest) -> None:
        self.rest.patch(self.key.namespace, kind, name, change=patch)

    def remove(self, kind: str, name: str) -> None:
        self.rest.delete(self.key.namespace, kind, name)

    def event_count(self, reason: str) -> int:
        events = self.rest.list(self.key.namespace, "events")
        return sum(event.get("count", 1) for event in events if event["reason"] == reason)

    def record(self, about: Manifest, reason: str, message: str, *, at: datetime) -> None:
        meta, moment = about["metadata"], stamp(at)
        involved = {"kind": about["kind"], "name": meta["name"], "namespace": self.key.namespace, "uid": meta["uid"]}
        name = f"{meta['name']}.{short_hash([meta['uid'], message])}"
        self.rest.create(
            self.key.namespace,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": self.key.namespace},
                "involvedObject": involved,
                "type": "Warning",
                "reason": reason,
                "message": message,
                "firstTimestamp": moment,
                "lastTimestamp": moment,
            },
        )


def merge(target: Any, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def seen(bench: Bench, kind: str, name: str) -> Manifest:
    found = bench.read(kind, name)
    assert found is not None, f"{kind} {name} is not there"
    return found

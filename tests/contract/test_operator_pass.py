"""Whole passes on the real API server with the rights that the chart gives: from the object to a group in rotation.

There is no kubelet: the test plays it, writes what it would write to the pods, and answers as their supervisors.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from kubernetes.aio import client

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import API_VERSION, KIND, LlamaDeploymentStatus
from llama_operator.ports import CellAnswer, Key
from llama_operator.reconcile import Bodies, reconcile
from llama_operator.wiring import CHILDREN, OWNED
from llama_serving.config import names
from llama_serving.config.state import CellReason, CellState, Phase
from tests.contract.apiserver import ApiServer
from tests.contract.test_cluster_port import client_of
from tests.fakes.nodes import ACCEPTED
from tests.fakes.samples import CPU_SPEC, SETTINGS
from tests.unit.chart.helm import CHART, real_helm

pytestmark = pytest.mark.apiserver

NAME = "chat"
ACCOUNT = "llama-operator"


class Stand:
    """A namespace, an operator with the chart's rights in it, and the kubelet's part."""

    def __init__(self, apiserver: ApiServer, namespace: str, api: client.ApiClient) -> None:
        self.apiserver = apiserver
        self.key = Key(namespace, NAME)
        self.cluster = KubeCluster(api, rooms_age=0)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.apiserver.run(*arguments, "-n", self.key.namespace, stdin=stdin)

    def get(self, *what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json"))
        return found

    def children(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(",".join(plural for _, plural in CHILDREN), "-l", OWNED)["items"]
        return items

    def pods(self, component: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("pods", "-l", f"{names.LABEL_COMPONENT}={component}")["items"]
        return items

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", f"--patch={patch}")

    async def one_pass(self) -> LlamaDeploymentStatus:
        bodies = Bodies(self.get(KIND, NAME), self.children())
        await reconcile(bodies, cluster=self.cluster, cells=self, settings=SETTINGS, now=datetime.now(UTC))
        return LlamaDeploymentStatus.model_validate(self.get(KIND, NAME)["status"])

    async def state(self, address: str) -> CellAnswer:
        """The port Cells: every stage serves. An address holds group and stage."""
        pod = next(pod for pod in self.pods(names.COMPONENT_STAGE) if pod["status"].get("podIP") == address)
        labels = pod["metadata"]["labels"]
        return CellAnswer(
            CellState(
                deployment=NAME, group=int(labels[names.LABEL_GROUP]), stage=int(labels[names.LABEL_STAGE]),
                revision=labels[names.LABEL_REVISION], weights="v1", phase=Phase.SERVING, reason=CellReason.SERVING,
                message="It serves.", phase_seconds=1, uptime_seconds=1, ready=True,
            )
        )  # fmt: skip

    def finish_inspection(self) -> None:
        (pod,) = self.pods(names.COMPONENT_INSPECTOR)
        ended = {"exitCode": 0, "message": ACCEPTED.model_dump_json(), "finishedAt": "2026-01-01T00:00:00Z"}
        container = {"name": "inspector", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        container["state"] = {"terminated": ended}
        self.set_status("pod", pod["metadata"]["name"], {"phase": "Succeeded", "containerStatuses": [container]})

    def run_stages(self) -> None:
        """Containers run; Ready follows the containers and the rotation gate, as the kubelet does it."""
        for number, pod in enumerate(self.pods(names.COMPONENT_STAGE)):
            conditions = {one["type"]: one for one in pod["status"].get("conditions", ())}
            gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", ())]
            ready = all(conditions.get(gate, {}).get("status") == "True" for gate in gates)
            conditions["ContainersReady"] = {"type": "ContainersReady", "status": "True"}
            conditions["Ready"] = {"type": "Ready", "status": str(ready)}
            address = f"10.0.0.{number + 1}"
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            self.set_status("pod", pod["metadata"]["name"], status | {"conditions": list(conditions.values())})

    def versions(self) -> dict[str, str]:
        found = [*self.children(), self.get(KIND, NAME)]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found}


@pytest.fixture
async def stand(apiserver: ApiServer, namespace: str) -> AsyncIterator[Stand]:
    apiserver.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    chart = real_helm().run("template", ACCOUNT, str(CHART), "--namespace", namespace, "--set", "rbac.clusterView=true")
    wanted = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    rights = [document for document in yaml.safe_load_all(chart) if document and document["kind"] in wanted]
    apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(rights))
    (account,) = [document["metadata"]["name"] for document in rights if document["kind"] == "ServiceAccount"]
    meta = {"name": NAME, "namespace": namespace}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": {**CPU_SPEC, "replicas": 2}}
    apiserver.run("create", "-f", "-", stdin=yaml.safe_dump(body))
    async with await client_of(apiserver) as api:
        api.set_default_header("Impersonate-User", f"system:serviceaccount:{namespace}:{account}")
        yield Stand(apiserver, namespace, api)


async def test_from_the_object_to_serving_groups_and_then_no_write(stand: Stand) -> None:
    status = await stand.one_pass()
    assert status.reason == "InspectingModel", status.message
    assert stand.pods(names.COMPONENT_STAGE) == []
    stand.finish_inspection()
    await stand.one_pass()
    stand.run_stages()
    await stand.one_pass()  # opens the rotation
    stand.run_stages()
    stand.set_status(
        "deployment", "chat-gateway", {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2}
    )
    status = await stand.one_pass()
    assert status.message == "2 group(s) serve from 1 node(s)"
    assert (status.groups_ready, status.reason, status.weights) == ("2/2", "Serving", "v1")
    before = stand.versions()
    for _ in range(3):
        await stand.one_pass()
    assert stand.versions() == before, "something was written although nothing changed"

    stand.kubectl("scale", "lld", NAME, "--replicas=1")
    for _ in range(3):
        status = await stand.one_pass()
    assert status.groups_ready == "1/1"
    assert len(stand.pods(names.COMPONENT_STAGE)) == 2
    reasons = {event["reason"] for event in stand.get("events")["items"]}
    assert {"InspectingModel", "Serving"} <= reasons
    assert "ApiRejected" not in reasons


async def test_a_missing_right_is_named_by_the_api_servers_words(stand: Stand) -> None:
    stand.kubectl("delete", "rolebinding", "--all")
    body = Bodies(stand.get(KIND, NAME), ())
    with pytest.raises(Exception, match="forbidden"):
        await reconcile(body, cluster=stand.cluster, cells=stand, settings=SETTINGS, now=datetime.now(UTC))

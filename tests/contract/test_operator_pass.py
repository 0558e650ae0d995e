"""Whole passes on the real API server with the rights that the chart gives: from the object to groups in rotation.

There is no kubelet: the test plays it, writes what it would write to the pods, and answers as their supervisors.
"""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from llama_operator.api import API_VERSION, KIND, LlamaDeploymentStatus
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.ports import Seal, SupervisorAnswer
from llama_operator.reconcile import Bodies, Edges, reconcile
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from llama_serving.config.gateway import GatewayLoad
from tests.contract.support.stand import ACCEPTED, MANIFEST, SETTINGS, Stand, file_of, serving_cell
from tests.fakes.samples import CPU_SPEC

pytestmark = pytest.mark.apiserver

NAME = "chat"


class Kubelet:
    """The pods of the deployment run; the ports Cells and Gateways: every stage serves what it was told."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.wishes: dict[str, DesiredState] = {}  # by the pod's address
        self.seen: list[dict[str, Any]] = []  # the children as this pass read them
        self.autoscalers = AutoscalerRegistry()

    async def one_pass(self) -> LlamaDeploymentStatus:
        """A pass of the deployment's loop, as after events of everything."""
        manifests = self.stand.items("configmaps", names.LABEL_WEIGHTS)
        self.seen = self.children()
        bodies = Bodies(self.deployment(), self.seen, self.stand.items("llamaweights"), manifests)
        edges = Edges(self.stand.cluster, self, self, autoscalers=self.autoscalers)
        await reconcile(bodies, edges=edges, settings=SETTINGS, now=datetime.now(UTC))
        return LlamaDeploymentStatus.model_validate(self.deployment()["status"])

    def deployment(self) -> dict[str, Any]:
        return self.stand.get(KIND, NAME)

    def children(self) -> list[dict[str, Any]]:
        return self.stand.children(f"{names.LABEL_DEPLOYMENT}={NAME}")

    def stages(self) -> list[dict[str, Any]]:
        return self.stand.items("pods", f"{names.LABEL_COMPONENT}={names.COMPONENT_STAGE}")

    def run_stages(self) -> None:
        """Containers run; Ready follows the containers and the rotation gate, as the kubelet does it."""
        for number, pod in enumerate(self.stages()):
            conditions = {one["type"]: one for one in pod["status"].get("conditions", ())}
            gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
            ready = all(conditions.get(gate, {}).get("status") == "True" for gate in gates)
            conditions["ContainersReady"] = {"type": "ContainersReady", "status": "True"}
            conditions["Ready"] = {"type": "Ready", "status": str(ready)}
            address = f"10.0.0.{number + 1}"
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            self.stand.set_status("pod", pod["metadata"]["name"], status | {"conditions": list(conditions.values())})

    def start_gateways(self) -> None:
        ready = {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2}
        self.stand.set_status("deployment", f"{NAME}-gateway", ready)

    async def state(self, address: str) -> SupervisorAnswer:
        pod = next(body for body in self.seen if body.get("status", {}).get("podIP") == address)
        files = (body for body in self.seen if body["kind"] == "ConfigMap")
        labels, wish = pod["metadata"]["labels"], self.wishes.get(address)
        return serving_cell(labels, wish, starts_with=file_of(pod, files).weights)

    async def accepts(self, address: str, port: int) -> bool:
        del address, port
        return False

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        assert seal is not None
        secret = self.stand.get("secret", f"{NAME}-token")
        assert token == base64.b64decode(secret["data"]["token"]).decode()
        self.wishes[address] = desired
        return ""

    async def load(self, address: str, *, start: float | None = None) -> GatewayLoad | None:  # noqa: ARG002 - of the port
        return GatewayLoad(waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(), totals={})


@pytest.fixture
def kubelet(stand: Stand) -> Kubelet:
    meta = {"name": NAME, "namespace": stand.namespace}
    stand.create({"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": {**CPU_SPEC, "replicas": 2}})
    a_large_node(stand)
    return Kubelet(stand)


def a_large_node(stand: Stand) -> None:
    """Groups are shown to the scheduler only where there is room for them."""
    name = f"large-{stand.namespace}"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    stand.create(node)
    # The API server taints a node until a controller finds it ready.
    stand.change("node", name, {"spec": {"taints": None}})
    allocatable = {"cpu": "1000", "memory": "4000Gi", "pods": "1000"}
    stand.set_status("node", name, {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]})


async def weights_become_ready(stand: Stand) -> str:
    """The passes of the one LlamaWeights that is not ready; returns its name."""
    (name,) = [
        item["metadata"]["name"] for item in stand.items("llamaweights") if not item.get("status", {}).get("ready")
    ]
    await stand.one_pass(name)
    stand.run_job(ACCEPTED)
    status = await stand.one_pass(name)
    assert status.ready, status.message
    await stand.one_pass(name)
    return str(name)


async def until_quiet(kubelet: Kubelet, groups: int = 2, limit: int = 12) -> LlamaDeploymentStatus:
    """Passes until so many groups serve, and no others are there; the kubelet follows each."""
    for _ in range(limit):
        status = await kubelet.one_pass()
        at_rest = status.reason == ("Serving" if groups else "ScaledToZero")
        if at_rest and (status.ready_replicas, status.replicas) == (groups, groups):
            return status
        kubelet.run_stages()
        kubelet.start_gateways()
    raise AssertionError(f"not serving after {limit} passes: {status.reason}: {status.message}")


def versions(kubelet: Kubelet) -> dict[str, str]:
    found = [*kubelet.children(), kubelet.deployment(), *kubelet.stand.items("llamaweights")]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found}


async def test_from_the_object_to_serving_groups_and_then_no_write(stand: Stand, kubelet: Kubelet) -> None:
    status = await kubelet.one_pass()
    assert status.reason == "InspectingModel", status.message
    assert kubelet.stages() == []
    name = await weights_become_ready(stand)
    status = await until_quiet(kubelet)
    digest = MANIFEST.digest.removeprefix("sha256:")[:12]
    assert (status.groups_ready, status.reason, status.weights) == ("2/2", "Serving", f"v1@{digest}"), status.message
    before = versions(kubelet)
    for _ in range(3):
        await kubelet.one_pass()
        await stand.one_pass(name)
    assert versions(kubelet) == before, "something was written although nothing changed"

    stand.kubectl("scale", "lld", NAME, "--replicas=1")
    for _ in range(4):
        status = await kubelet.one_pass()
    assert status.groups_ready == "1/1"
    assert len(kubelet.stages()) == 2
    reasons = {event["reason"] for event in stand.items("events")}
    assert {"ResolvingWeights", "Accepted", "Serving"} <= reasons
    assert "ApiRejected" not in reasons


async def test_whoever_drives_the_scale_subresource_is_followed_to_zero_and_back(
    stand: Stand, kubelet: Kubelet
) -> None:
    """As an HPA or KEDA does it: a patch of ``/scale``; the status tells them how many groups there are."""
    await kubelet.one_pass()
    await weights_become_ready(stand)
    await until_quiet(kubelet)
    for wanted in (3, 0, 1):
        stand.change("lld", NAME, {"spec": {"replicas": wanted}}, subresource="scale")
        status = await until_quiet(kubelet, wanted)
        scale = stand.get("lld", NAME, subresource="scale")
        assert (scale["spec"].get("replicas", 0), scale["status"]["replicas"]) == (wanted, wanted)
        assert scale["status"]["selector"] == status.selector
        assert status.groups_ready == f"{wanted}/{wanted}"
        assert len(kubelet.stages()) == 2 * wanted
    assert "autoscaling" not in kubelet.deployment()["status"]


async def test_an_autoscaled_deployment_is_left_alone_while_nothing_comes(stand: Stand, kubelet: Kubelet) -> None:
    stand.change("lld", NAME, {"spec": {"autoscaling": {"minReplicas": 0, "maxReplicas": 3}}})
    await kubelet.one_pass()
    name = await weights_become_ready(stand)
    status = await until_quiet(kubelet)
    assert status.autoscaling is not None
    assert (status.autoscaling.target, status.groups_ready) == (2, "2/2")
    before = versions(kubelet)
    for _ in range(3):
        await kubelet.one_pass()
        await stand.one_pass(name)
    assert versions(kubelet) == before, "something was written although nothing changed"
    stand.kubectl("scale", "lld", NAME, "--replicas=3")
    status = await kubelet.one_pass()
    assert status.autoscaling is not None
    assert status.autoscaling.target == 2, "with autoscaling the number to begin with is no order"


async def test_weights_that_a_user_checked_first_are_used_and_get_no_owner(stand: Stand, kubelet: Kubelet) -> None:
    mine = {
        "apiVersion": API_VERSION,
        "kind": "LlamaWeights",
        "metadata": {"name": "checked"},
        "spec": CPU_SPEC["model"],
    }
    stand.create(mine)
    assert await weights_become_ready(stand) == "checked"
    status = await until_quiet(kubelet)
    assert status.groups_ready == "2/2"
    (item,) = stand.items("llamaweights")
    assert (item["metadata"]["name"], item["metadata"].get("ownerReferences")) == ("checked", None)


async def test_a_missing_right_is_named_by_the_api_servers_words(stand: Stand, kubelet: Kubelet) -> None:
    stand.kubectl("delete", "rolebinding", "--all")
    edges = Edges(stand.cluster, kubelet, kubelet)
    with pytest.raises(Exception, match="forbidden"):
        await reconcile(Bodies(kubelet.deployment(), ()), edges=edges, settings=SETTINGS, now=datetime.now(UTC))

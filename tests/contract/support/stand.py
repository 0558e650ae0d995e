"""A namespace, an operator with the chart's rights in it, and the parts of the Job controller and the resolver."""

import base64
import gzip
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import WEIGHTS_KIND, LlamaWeightsStatus
from llama_operator.plan.settings import Settings
from llama_operator.ports import SupervisorAnswer
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_operator.wiring import CHILDREN, OWNED
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, Measurement, StagedWeights, StagingState, WeightsArtifact
from llama_serving.config.model import MANIFEST_KEY, WeightsReport
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Phase
from llama_serving.config.weights import Manifest, ManifestFile
from tests.contract.support.apiserver import ApiServer
from tests.fakes.weights import FACTS
from tests.unit.chart.helm import CHART, real_helm

ACCOUNT = "llama-operator"
RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
SETTINGS = Settings("serving:1", "gateway:1", "llama-system", serving_gpu_image="serving:1")
MANIFEST = Manifest(files=(ManifestFile(path="config.json", size=7, sha256="a" * 64),))
ACCEPTED = WeightsReport(
    outcome="accepted", reason="Accepted", message="fine", facts=FACTS, digest=MANIFEST.digest, bytes=269_000_000,
    files=7, license="llama3.1", revision="0e9e39f",
)  # fmt: skip


class Stand:
    """A namespace and an operator with the chart's rights in it."""

    def __init__(self, apiserver: ApiServer, namespace: str, api: client.ApiClient) -> None:
        self.apiserver = apiserver
        self.namespace = namespace
        self.api = api
        self.cluster = KubeCluster(api)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.apiserver.run(*arguments, "-n", self.namespace, stdin=stdin)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.apiserver.rest.create(self.namespace, body)

    def get(self, kind: str, name: str, *, subresource: str = "") -> dict[str, Any]:
        return self.apiserver.rest.get(self.namespace, kind, name, subresource=subresource)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        return self.apiserver.rest.list(self.namespace, kind, selector)

    def children(self, selector: str) -> list[dict[str, Any]]:
        """Everything that the operator has made, as its watches see it."""
        return [item for _, plural in CHILDREN for item in self.items(plural, f"{OWNED},{selector}")]

    def change(self, kind: str, name: str, patch: dict[str, Any], *, subresource: str = "") -> None:
        self.apiserver.rest.patch(self.namespace, kind, name, change=patch, subresource=subresource)

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        self.change(kind, name, {"status": status}, subresource="status")

    def bodies(self, name: str) -> WeightsBodies:
        return WeightsBodies(self.get(WEIGHTS_KIND, name), self.children(f"{names.LABEL_WEIGHTS}={name}"))

    async def one_pass(self, name: str, **later: float) -> LlamaWeightsStatus:
        now = datetime.now(UTC) + timedelta(**later)
        await reconcile_weights(self.bodies(name), cluster=self.cluster, settings=SETTINGS, now=now)
        return LlamaWeightsStatus.model_validate(self.get(WEIGHTS_KIND, name)["status"])

    def run_job(self, report: WeightsReport, *, stores: bool = True) -> None:
        """The Job's pod runs to its end; ``stores``: it puts the manifest where it may."""
        pod = self.start_pod()
        if stores:
            self.store(pod["spec"]["serviceAccountName"], _argument(pod, "--config-map"))
        self.end_pod(pod, report.model_dump_json())

    def start_pod(self) -> dict[str, Any]:
        """The Job controller makes the pod of the one Job."""
        (job,) = self.items("jobs")
        meta = job["metadata"]
        template = job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        about = {
            "generateName": f"{meta['name']}-",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        }
        return self.create({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": template["spec"]})

    def end_pod(self, pod: dict[str, Any], message: str) -> None:
        """The kubelet says how the pod ended."""
        ended = {"exitCode": 0, "message": message, "finishedAt": _stamp(datetime.now(UTC))}
        container = {"name": "resolver", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        container["state"] = {"terminated": ended}
        self.set_status("pod", pod["metadata"]["name"], {"phase": "Succeeded", "containerStatuses": [container]})

    def store(self, account: str, where: str) -> None:
        """As the resolver's account, with its rights."""
        namespace, _, name = where.partition("/")
        packed = base64.b64encode(gzip.compress(MANIFEST.model_dump_json().encode())).decode()
        change = {"binaryData": {MANIFEST_KEY: packed}}
        who = f"system:serviceaccount:{namespace}:{account}"
        self.apiserver.rest.patch(namespace, "configmap", name, change=change, user=who)

    def kubeconfig_of(self, account: str, path: Path) -> Path:
        """What a pod of this account has to go to the API server with."""
        token = self.kubectl("create", "token", account).strip()
        config = yaml.safe_load(self.apiserver.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path.write_text(yaml.safe_dump(config))
        return path

    def may(self, account: str, *what: str) -> bool:
        who = f"--as=system:serviceaccount:{self.namespace}:{account}"
        asked = self.apiserver.kubectl("auth", "can-i", *what, "-n", self.namespace, who)
        return asked.stdout.strip() == "yes"


def file_of(pod: dict[str, Any], configmaps: Iterable[dict[str, Any]]) -> WeightsArtifact:
    """What a stage pod starts with: the file that its group's ConfigMap mounts."""
    (name,) = [volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if volume["name"] == "config"]
    (body,) = [body for body in configmaps if body["metadata"]["name"] == name]
    return WeightsArtifact.model_validate_json(body["data"]["next.json"])


def serving_cell(labels: Mapping[str, str], wish: DesiredState | None, *, starts_with: WeightsRef) -> SupervisorAnswer:
    """What the supervisor of the stage with these labels says when it serves what it was told, or started with."""
    weights = wish.serve if wish else starts_with
    staged = StagingState(weights=(StagedWeights(digest=weights.digest, id=weights.id, outcome="ready"),))
    verdict = Measurement(digest=weights.digest, id=weights.id, mean_logprob=-3.5, answer_hash="a")
    return SupervisorAnswer(
        CellState(
            deployment=labels[names.LABEL_DEPLOYMENT], group=int(labels[names.LABEL_GROUP]),
            stage=int(labels[names.LABEL_STAGE]), pod_hash=labels[names.LABEL_POD_HASH], weights=weights.id,
            phase=Phase.SERVING, reason=CellReason.SERVING, message="It serves.", phase_seconds=1, uptime_seconds=1,
            ready=True, desired=wish.key if wish else "", staging=staged, measurement=verdict,
        )
    )  # fmt: skip


def _argument(pod: dict[str, Any], name: str) -> str:
    arguments: list[str] = pod["spec"]["containers"][0]["args"]
    return arguments[arguments.index(name) + 1]


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def give_rights(apiserver: ApiServer, namespace: str) -> str:
    """What the chart gives the operator in this namespace; returns its user name."""
    apiserver.rest.patch("", "namespace", namespace, change=RESTRICTED)
    chart = real_helm().run("template", ACCOUNT, str(CHART), "--namespace", namespace, "--set", "rbac.clusterView=true")
    wanted = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    rights = [document for document in yaml.safe_load_all(chart) if document and document["kind"] in wanted]
    apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(rights))
    (account,) = [document["metadata"]["name"] for document in rights if document["kind"] == "ServiceAccount"]
    return f"system:serviceaccount:{namespace}:{account}"

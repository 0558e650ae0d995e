"""The chart on a real API server: installed, upgraded and uninstalled by the real helm, with rights that suffice.

There is no controller here, so no pod runs: what is tested is what the API server decides.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects, token_secret
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key
from tests.contract.crd.bad_inputs import VALID, VALID_WEIGHTS
from tests.contract.support.apiserver import CRDS, ApiServer
from tests.unit.chart.helm import CHART, Helm, real_helm

pytestmark = pytest.mark.apiserver

CRD = "crd/llamadeployments.llama-operator.dev"
CRD_NAMES = tuple(f"{kind}.llama-operator.dev" for kind in ("llamadeployments", "llamaweights", "llamaadapters"))
KINDS = "serviceaccounts,roles,rolebindings,deployments,secrets,configmaps,services"


@pytest.fixture
def helm(apiserver: ApiServer) -> Iterator[Helm]:
    """Helm on an API server without our CRDs, which are there again afterwards."""
    apiserver.run("delete", "-f", str(CRDS))
    yield real_helm(apiserver.environment)
    apiserver.install_crds()  # over those that helm keeps


def install(helm: Helm, namespace: str, *settings: str, chart: Path = CHART) -> None:
    values = [part for setting in settings for part in ("--set", setting)]
    helm.run("upgrade", "--install", "demo", str(chart), "--namespace", namespace, *values)


def older_chart(folder: Path) -> Path:
    """The chart as it might have been: its CRD has no columns."""
    shutil.copytree(CHART, folder)
    path = folder / "templates" / "crds" / "llamadeployments.yaml"
    before, _, rest = path.read_text().partition("      additionalPrinterColumns:")
    path.write_text(before + "      subresources:" + rest.partition("      subresources:")[2])
    return folder


def account(namespace: str) -> str:
    return f"--as=system:serviceaccount:{namespace}:demo-llama-operator"


def columns(apiserver: ApiServer) -> list[str]:
    version = json.loads(apiserver.run("get", CRD, "-o", "json"))["spec"]["versions"][0]
    return [column["name"] for column in version.get("additionalPrinterColumns", ())]


def test_install_upgrade_uninstall(apiserver: ApiServer, helm: Helm, namespace: str, *, tmp_path: Path) -> None:
    install(helm, namespace, chart=older_chart(tmp_path / "older"))
    apiserver.run("get", "deployment", "demo-llama-operator", "-n", namespace)
    assert columns(apiserver) == []

    install(helm, namespace)
    assert "Groups" in columns(apiserver), "the upgrade did not update the CRD"

    apiserver.run("wait", "--for=condition=Established", "--timeout=30s", "crd", *CRD_NAMES)
    for valid in (VALID, VALID_WEIGHTS):
        apiserver.run("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(valid))
    helm.run("uninstall", "demo", "--namespace", namespace)
    assert apiserver.run("get", KINDS, "-n", namespace, "-o", "name") == ""
    for kind in ("lld", "llw"):
        assert apiserver.run("get", kind, "-n", namespace, "-o", "name") != "", f"the uninstall took a {kind} with it"

    install(helm, namespace)  # takes up the CRD that it left


def test_the_cluster_view_goes_with_the_release(apiserver: ApiServer, helm: Helm, namespace: str) -> None:
    def cluster_roles() -> str:
        return apiserver.run(
            "get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/instance=demo", "-o", "name"
        )

    install(helm, namespace, "watch.allNamespaces=true", "rbac.clusterView=true")
    assert len(cluster_roles().split()) == 4
    helm.run("uninstall", "demo", "--namespace", namespace)
    assert cluster_roles() == ""


MAY = [
    ("list", "llamadeployments.llama-operator.dev", ""),
    ("patch", "llamadeployments.llama-operator.dev", "status"),
    ("update", "llamadeployments.llama-operator.dev", "finalizers"),
    ("watch", "pods", ""),
    ("patch", "pods", "status"),
    ("get", "secrets", ""),
    ("list", "resourcequotas", ""),
    ("create", "events", ""),
    ("create", "llamaweights.llama-operator.dev", ""),
    ("delete", "llamaweights.llama-operator.dev", ""),
    ("patch", "llamaweights.llama-operator.dev", "status"),
    ("watch", "llamaadapters.llama-operator.dev", ""),
    ("patch", "llamaadapters.llama-operator.dev", "status"),
    ("create", "jobs.batch", ""),
    ("delete", "jobs.batch", ""),
    ("create", "persistentvolumeclaims", ""),  # those of warm groups, which it also takes away again
    ("delete", "persistentvolumeclaims", ""),
    ("create", "leases.coordination.k8s.io", ""),
    ("update", "leases.coordination.k8s.io/llama-operator", ""),
    ("watch", "leases.coordination.k8s.io/llama-operator", ""),
]
#: What spec.access needs, and what the chart leaves out without it.
OF_KEYS = [(verb, "secrets", "") for verb in ("list", "watch", "patch", "delete")]
MAY_NOT = [
    ("create", "pods", "exec"),
    ("get", "pods", "log"),
    ("delete", "llamadeployments.llama-operator.dev", ""),
    ("impersonate", "serviceaccounts", ""),
    ("create", "serviceaccounts", "token"),
    ("escalate", "roles.rbac.authorization.k8s.io", ""),
    ("bind", "roles.rbac.authorization.k8s.io", ""),
    ("patch", "persistentvolumeclaims", ""),
    ("delete", "persistentvolumes", ""),
    ("update", "leases.coordination.k8s.io/another", ""),
    ("list", "leases.coordination.k8s.io", ""),
]


@pytest.mark.parametrize("keys", [True, False])
def test_the_operator_may_what_it_must_and_no_more(
    apiserver: ApiServer, helm: Helm, namespace: str, *, keys: bool
) -> None:
    install(helm, namespace, f"rbac.accessKeys={str(keys).lower()}")
    wanted, unwanted = (MAY + OF_KEYS, MAY_NOT) if keys else (MAY, MAY_NOT + OF_KEYS)

    def may(verb: str, resource: str, subresource: str, *, where: str) -> bool:
        part = [f"--subresource={subresource}"] if subresource else []
        asked = apiserver.kubectl("auth", "can-i", verb, resource, *part, "-n", where, account(namespace))
        return asked.stdout.strip() == "yes"

    def missing() -> list[tuple[str, str, str]]:
        return [ask for ask in wanted if not may(*ask, where=namespace)]

    end = time.monotonic() + 30  # the authorizer learns of new roles by a watch
    while missing() and time.monotonic() < end:
        continue
    assert missing() == []
    assert [ask for ask in unwanted if may(*ask, where=namespace)] == []
    assert [ask for ask in wanted if may(*ask, where="kube-system")] == []


def children(namespace: str) -> list[dict[str, Any]]:
    spec = LlamaDeploymentSpec.model_validate({**VALID["spec"], "replicas": 2})
    settings = Settings(serving_image="serving:1", gateway_image="gateway:1", operator_namespace=namespace)
    context = Context(key=Key(namespace, "llama"), uid="u", spec=spec, settings=settings)
    return [token_secret(context), *deployment_objects(context)]


def test_the_operator_can_write_what_it_makes_for_a_deployment(
    apiserver: ApiServer, helm: Helm, namespace: str
) -> None:
    """Above all the gateway's Role: giving a right that one does not have is refused."""
    install(helm, namespace)
    for child in children(namespace):
        text = yaml.safe_dump(child)
        if child["kind"] == "Secret":
            apiserver.run("create", "-f", "-", account(namespace), stdin=text)
        else:
            apiserver.run(
                "apply", "--server-side", "--field-manager=llama-operator", "-f", "-", account(namespace), stdin=text
            )


def test_the_operators_pod_passes_pod_security_restricted(apiserver: ApiServer, helm: Helm, namespace: str) -> None:
    install(helm, namespace)
    apiserver.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    deployment = json.loads(apiserver.run("get", "deployment", "demo-llama-operator", "-n", namespace, "-o", "json"))
    pod = deployment["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "operator"
    apiserver.run("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(pod))
    pod["spec"]["securityContext"].pop("runAsNonRoot")  # and the check is real
    done = apiserver.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(pod))
    assert "violates PodSecurity" in done.stderr

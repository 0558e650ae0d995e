"""What the chart renders, with the real helm. Reviewed as a whole in snapshots/, told apart by cases here."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.__main__ import settings_from
from llama_operator.api import LlamaDeploymentSpec, LlamaWeightsSpec
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects
from llama_operator.manifests.edge.access import access_rights
from llama_operator.manifests.resolver import WeightsContext, resolver_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import GroupId
from llama_operator.wiring import CHILDREN
from llama_serving.config import names
from testbed.rights import Right, rights_of
from tests.fakes.weights import SPEC
from tests.fakes.world import KEY, SETTINGS, spec_of
from tests.rights import OPERATOR
from tests.unit.chart.helm import CHART, Helm

pytestmark = pytest.mark.timeout(900)  # the first use builds helm

ROOT = Path(__file__).parents[3]
SNAPSHOTS = Path(__file__).parent / "snapshots"

CASES: dict[str, list[str]] = {
    "default": [],
    "two-namespaces": ["watch.namespaces={team-a,team-b}", "crds.install=false"],
    "everywhere": ["watch.allNamespaces=true", "rbac.clusterView=true", "crds.install=false"],
    "pod-monitors": [
        "crds.install=false",
        "watch.namespaces={team-a,team-b}",
        "podMonitors.enabled=true",
        "podMonitors.labels.release=prometheus",
        "podMonitors.interval=30s",
    ],
    "all-values": [
        "crds.install=false",
        "images.operator=r.example.com/op:1",
        "images.serving=r.example.com/serve:2",
        "images.servingGpu=r.example.com/serve-gpu:2",
        "images.gateway=r.example.com/gw:3",
        "images.pullPolicy=Always",
        "images.pullSecrets={one,two}",
        "logLevel=DEBUG",
        "logFormat=json",
        "nodeSelector.zone=a",
        "tolerations[0].key=infra",
        "tolerations[0].operator=Exists",
        "priorityClassName=high",
        "podAnnotations.team=llama",
        "images.allowedRegistries={r.example.com,docker.io/llama}",
        "sources.requireLabel=false",
        "sources.allowedHosts={hf://Meta-Llama,https://*.example.com}",
        "networkPolicy.apiServerPorts={7443}",
        "networkPolicy.sourceCidrs={192.0.2.0/24,198.51.100.0/24}",
        "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone",
    ],
}


def render(helm: Helm, values: list[str]) -> str:
    settings = [part for value in values for part in ("--set", value)]
    return helm.run("template", "demo", str(CHART), "--namespace", "llama", *settings)


def objects(helm: Helm, values: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(render(helm, values)) if document]
    return {(document["kind"], document["metadata"].get("namespace", "")): document for document in documents}


def operator(helm: Helm, values: list[str]) -> dict[str, Any]:
    """The operator's pod spec."""
    spec: dict[str, Any] = objects(helm, values)["Deployment", "llama"]["spec"]["template"]["spec"]
    return spec


def environment(helm: Helm, values: list[str]) -> dict[str, str]:
    variables = operator(helm, values)["containers"][0]["env"]
    return {variable["name"]: variable.get("value", "") for variable in variables}


def without_crd(text: str) -> str:
    """The CRD has a file of its own to be reviewed in."""
    return "---\n".join(part for part in text.split("---\n") if "kind: CustomResourceDefinition" not in part)


@pytest.mark.parametrize("case", CASES)
def test_snapshots(helm: Helm, case: str) -> None:
    rendered = without_crd(render(helm, CASES[case]))
    path = SNAPSHOTS / f"{case}.yaml"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(rendered)
    assert rendered == path.read_text(), "if this is meant: UPDATE_SNAPSHOTS=1, and read the diff"


def test_lint_finds_nothing(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART))


def test_helm_refuses_values_that_the_schema_refuses(helm: Helm) -> None:
    done = helm("template", "demo", str(CHART), "--set", "replicaCount=2")
    assert done.returncode != 0
    assert "replicaCount" in done.stderr


def test_the_crds_are_the_generated_ones_and_are_kept(helm: Helm) -> None:
    documents = [document for document in yaml.safe_load_all(render(helm, [])) if document]
    rendered = {one["spec"]["names"]["plural"]: one for one in documents if one["kind"] == "CustomResourceDefinition"}
    assert (
        rendered.keys()
        == {path.stem for path in (ROOT / "crds").glob("*.yaml")}
        == {"llamadeployments", "llamaweights", "llamaadapters"}
    )
    for plural, crd in rendered.items():
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd == yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text())


def test_without_crds(helm: Helm) -> None:
    assert ("CustomResourceDefinition", "") not in objects(helm, ["crds.install=false"])


def test_the_default_has_no_rights_on_the_cluster(helm: Helm) -> None:
    kinds = {kind for kind, _ in objects(helm, [])}
    policies = {"NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert kinds - policies == {"CustomResourceDefinition", "Deployment", "Role", "RoleBinding", "ServiceAccount"}
    assert policies <= kinds
    assert environment(helm, [])["WATCH_NAMESPACES"] == "llama"


def test_each_watched_namespace_has_a_role(helm: Helm) -> None:
    values = CASES["two-namespaces"]
    roles = {namespace for kind, namespace in objects(helm, values) if kind == "Role"}
    assert roles == {"team-a", "team-b"}
    assert environment(helm, values)["WATCH_NAMESPACES"] == "team-a,team-b"


def test_everywhere_is_an_empty_list_of_namespaces(helm: Helm) -> None:
    assert environment(helm, ["watch.allNamespaces=true"])["WATCH_NAMESPACES"] == ""


def test_images_that_are_not_named_follow_the_chart(helm: Helm) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    found = environment(helm, [])
    assert found["LLAMA_SERVING_IMAGE"] == f"llama-serving:{version}"
    assert found["LLAMA_SERVING_GPU_IMAGE"] == f"llama-serving-gpu:{version}"
    assert found["LLAMA_GATEWAY_IMAGE"] == f"llama-operator:{version}"
    assert environment(helm, ["images.operator=mine:1"])["LLAMA_GATEWAY_IMAGE"] == "mine:1"


def test_each_image_of_stages_is_named_on_its_own(helm: Helm) -> None:
    gpu = environment(helm, ["images.servingGpu=r.example.com/gpu:1"])
    assert gpu["LLAMA_SERVING_GPU_IMAGE"] == "r.example.com/gpu:1"
    assert gpu["LLAMA_SERVING_IMAGE"].startswith("llama-serving:")
    cpu = environment(helm, ["images.serving=r.example.com/cpu:1"])
    assert cpu["LLAMA_SERVING_IMAGE"] == "r.example.com/cpu:1"
    assert cpu["LLAMA_SERVING_GPU_IMAGE"] == "", "the registry of one need not have the other"


def test_the_operator_reads_what_the_chart_sets(helm: Helm) -> None:
    found = settings_from(environment(helm, ["images.serving=cpu:1", "images.servingGpu=gpu:1"]))
    assert (found.serving_image, found.serving_gpu_image) == ("cpu:1", "gpu:1")
    assert settings_from(environment(helm, ["images.serving=cpu:1"])).serving_gpu_image == ""


def test_the_operator_reads_the_walls_that_the_chart_sets(helm: Helm) -> None:
    found = settings_from(environment(helm, []))
    assert (found.label_required, found.api_server_ports, found.source_cidrs) == (True, (443, 6443, 8443, 16443), ())
    found = settings_from(environment(helm, CASES["all-values"]))
    assert (found.label_required, found.api_server_ports) == (False, (7443,))
    assert found.source_cidrs == ("192.0.2.0/24", "198.51.100.0/24")


def test_lists_without_the_policy_that_enforces_them_are_refused(helm: Helm) -> None:
    for value in ("sources.allowedHosts={hf://meta-llama}", "images.allowedRegistries={r.example.com}"):
        done = helm("template", "demo", str(CHART), "--set", value, "--set", "admissionPolicy.enabled=false")
        assert done.returncode != 0
        assert "set admissionPolicy.enabled=true" in done.stderr


def test_without_the_policies_nothing_is_cluster_wide(helm: Helm) -> None:
    found = objects(helm, ["admissionPolicy.enabled=false", "crds.install=false", "networkPolicy.operator=false"])
    assert {kind for kind, _ in found} == {"Deployment", "Role", "RoleBinding", "ServiceAccount"}


def test_values_of_an_earlier_release_are_enough(helm: Helm, tmp_path: Path) -> None:
    """``helm upgrade --reuse-values`` keeps the values of the chart that was installed, which had not these."""
    before = tmp_path / "chart"
    shutil.copytree(CHART, before)
    values = yaml.safe_load((before / "values.yaml").read_text())
    for later in ("sources", "networkPolicy", "admissionPolicy", "resolver", "logFormat"):
        del values[later]
    for later in ("accessKeys", "routes"):
        del values["rbac"][later]
    del values["images"]["allowedRegistries"]
    (before / "values.yaml").write_text(yaml.safe_dump(values))
    options = ("--namespace", "llama")
    assert helm.run("template", "demo", str(before), *options) == render(helm, [])


NO_KEYS = "rbac.accessKeys=false"


def rights(helm: Helm, values: list[str], resource: str) -> set[str]:
    """Verbs that the operator has on a resource, in any Role."""
    roles = (body for (kind, _), body in objects(helm, values).items() if kind in ("Role", "ClusterRole"))
    rules = (rule for body in roles for rule in body["rules"] if resource in rule["resources"])
    return {verb for rule in rules for verb in rule["verbs"]}


def test_without_keys_secrets_are_never_listed(helm: Helm) -> None:
    for values in ([NO_KEYS], [*CASES["everywhere"], NO_KEYS]):
        assert rights(helm, values, "secrets") <= {"get", "create"}


def test_the_operator_may_give_the_right_on_rules_that_a_gateway_gets(helm: Helm) -> None:
    given = {verb for rule in access_rights(context_with(access={"mode": "keys"})) for verb in rule["verbs"]}
    assert given
    assert rights(helm, [], "secrets") == given | {"create", "patch", "delete"}


@pytest.mark.parametrize("resource", ["ingresses", "httproutes"])
def test_ways_in_are_made_looked_up_and_removed_and_the_right_can_be_left_out(helm: Helm, resource: str) -> None:
    assert rights(helm, [], resource) == {"get", "create", "patch", "delete"}
    assert rights(helm, ["rbac.routes=false"], resource) == set()


def context_with(**spec: Any) -> Context:
    return Context(KEY, "uid", LlamaDeploymentSpec.model_validate(spec_of(**spec)), SETTINGS)


def test_every_kind_that_is_watched_may_be_watched(helm: Helm) -> None:
    rules = objects(helm, [])["Role", "llama"]["rules"]
    for version, plural in CHILDREN:
        group = version.rpartition("/")[0]
        verbs = {
            verb
            for rule in rules
            if group in rule["apiGroups"] and plural in rule["resources"]
            for verb in rule["verbs"]
        }
        changed: set[str] = set() if plural == "persistentvolumeclaims" else {"patch"}  # claims are made once
        deleted: set[str] = set() if plural == "deployments" else {"delete"}  # a gateway goes with its owner
        assert verbs >= {"list", "watch", "create"} | deleted | changed, plural


def test_the_operator_may_give_the_rights_that_a_resolver_gets(helm: Helm) -> None:
    rules = objects(helm, [])["Role", "llama"]["rules"]
    verbs = {verb for rule in rules if "configmaps" in rule["resources"] for verb in rule["verbs"]}
    assert verbs >= {"get", "patch"}


def test_every_reason_for_a_right_that_is_not_used_is_for_one_that_is_granted(helm: Helm) -> None:
    granted = rights_of(objects(helm, [])["Role", "llama"]["rules"])
    assert set(OPERATOR) - granted == set()
    assert not {Right("", "pods", "get"), Right("apps", "deployments", "delete")} & granted


def test_the_operator_holds_every_right_that_it_gives(helm: Helm) -> None:
    """Else the API server would refuse the Roles: it lets nobody give what he does not have."""
    granted = rights_of(objects(helm, [])["Role", "llama"]["rules"])
    context = Context(KEY, "u", LlamaDeploymentSpec.model_validate(spec_of()), SETTINGS)
    weights = WeightsContext(KEY, "u", LlamaWeightsSpec.model_validate(SPEC), SETTINGS)
    roles = [one for one in (*deployment_objects(context), *resolver_objects(weights)) if one["kind"] == "Role"]
    assert len(roles) == 2
    for role in roles:
        assert rights_of(role["rules"]) <= granted, role["metadata"]["name"]


def test_notes_say_what_to_do_next(helm: Helm) -> None:
    notes = helm.run("install", "demo", str(CHART), "--namespace", "llama", "--dry-run=client").partition("NOTES:")[2]
    assert "kind: LlamaDeployment" in notes
    assert "kubectl -n llama get llamadeployments,llamaweights,llamaadapters" in notes
    assert "kubectl delete crd {llamadeployments,llamaweights,llamaadapters}.llama-operator.dev" in notes
    assert "rbac.clusterView=false" in notes


# -- PodMonitors -------------------------------------------------------------------------------------------------------


def monitors(helm: Helm, *values: str) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all(render(helm, ["podMonitors.enabled=true", "crds.install=false", *values]))
    return {
        document["metadata"]["name"].removeprefix("demo-llama-operator-"): document["spec"]
        for document in found
        if document and document["kind"] == "PodMonitor"
    }


def test_there_are_no_pod_monitors_unless_they_are_asked_for(helm: Helm) -> None:
    assert "PodMonitor" not in render(helm, [])


def test_pod_monitors_select_the_pods_that_there_are_by_a_port_that_they_have(helm: Helm) -> None:
    """Against the labels and ports of the pods as the operator makes them."""
    spec = LlamaDeploymentSpec.model_validate(spec_of())
    context = Context(KEY, "u", spec, SETTINGS)
    stage = stage_pod(context, CreateStage(GroupId(KEY.name, 0, "0123abcd"), 0))
    (gateway,) = [one["spec"]["template"] for one in deployment_objects(context) if one["kind"] == "Deployment"]
    (operators,) = [one["spec"]["template"] for key, one in objects(helm, []).items() if key[0] == "Deployment"]
    found = monitors(helm)
    assert found.keys() == {"operator", "gateways", "engines"}
    for name, pod in (("operator", operators), ("gateways", gateway), ("engines", stage)):
        labels = found[name]["selector"]["matchLabels"]
        assert labels.items() <= pod["metadata"]["labels"].items(), name
        (endpoint,) = found[name]["podMetricsEndpoints"]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert endpoint["port"] in ports, name
        assert endpoint["path"] == "/metrics"


@pytest.mark.parametrize(
    ("values", "expect"),
    [
        ((), {"matchNames": ["llama"]}),
        (("watch.namespaces={a,b}",), {"matchNames": ["a", "b"]}),
        (("watch.allNamespaces=true",), {"any": True}),
    ],
)
def test_pod_monitors_look_where_the_operator_serves(
    helm: Helm, values: tuple[str, ...], expect: dict[str, Any]
) -> None:
    found = monitors(helm, *values)
    assert found["gateways"]["namespaceSelector"] == found["engines"]["namespaceSelector"] == expect
    assert found["operator"]["namespaceSelector"] == {"matchNames": ["llama"]}


def test_the_label_that_a_scraper_needs_is_said_in_the_values_and_in_the_docs() -> None:
    label = f"{names.LABEL_METRICS}=enabled"
    for path in (CHART / "values.yaml", CHART / "README.md", ROOT / "docs" / "how-to" / "monitor.md"):
        assert label in path.read_text(encoding="utf-8"), path

"""Fabric, places and accounts in pods: what each field adds, and that none of it reaches beyond the deployment."""

from collections.abc import Iterator
from typing import Any

import pytest

from llama_operator.api import LlamaWeightsSpec
from llama_operator.manifests.resolver import WeightsContext, resolver_job, resolver_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.manifests.weights import weights_spec
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import GroupId
from llama_operator.plan.weights.resolve import ResolveJob
from llama_operator.ports import Key, Manifest
from llama_serving.config import names
from tests.fakes.samples import FABRIC_SPEC, GPU_SPEC, SAMPLES, SETTINGS, UID, context_of, weights_in
from tests.unit.operator import golden

GROUP = GroupId("chat", 3, "abc")


def pod_of(spec: dict[str, Any] | None = None, **changes: Any) -> Manifest:
    return stage_pod(context_of({**(spec or GPU_SPEC), **changes}), CreateStage(GROUP, 0))


def engine(pod: Manifest) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def device(**fields: Any) -> dict[str, Any]:
    return {"device": {"resource": "nvidia.com/gpu", "count": 8, **fields}}


def test_without_the_fields_a_pod_has_none_of_it() -> None:
    pod = pod_of()
    assert not {"runtimeClassName", "schedulerName", "resourceClaims"} & pod["spec"].keys()
    assert "annotations" not in pod["metadata"]
    assert "claims" not in engine(pod)["resources"]
    assert set(pod["spec"]["affinity"]) == {"podAntiAffinity"}


def test_extra_devices_are_requested_and_limited_alike() -> None:
    found = engine(pod_of(**device(extra={"rdma/hca": 2, "hugepages-2Mi": "5Gi"})))["resources"]
    for part in ("requests", "limits"):
        assert (found[part]["rdma/hca"], found[part]["hugepages-2Mi"]) == ("2", "5Gi")
        assert found[part]["nvidia.com/gpu"] == "8"


def test_a_claim_takes_the_place_of_the_devices_by_name() -> None:
    pod = pod_of(**device(claimTemplate="gpus"))
    assert pod["spec"]["resourceClaims"] == [{"name": "devices", "resourceClaimTemplateName": "gpus"}]
    resources = engine(pod)["resources"]
    assert resources["claims"] == [{"name": "devices"}]
    assert "nvidia.com/gpu" not in resources["requests"] | resources["limits"]
    assert "claims" not in pod["spec"]["initContainers"][0]["resources"], "the stager has no devices"


def test_ipc_lock_is_the_only_capability_and_the_engines_alone() -> None:
    pod = pod_of(**device(ipcLock=True))
    security = engine(pod)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert security["allowPrivilegeEscalation"] is False
    assert pod["spec"]["initContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_variables_of_nccl_are_the_engines_alone_and_replace_none_of_the_operators() -> None:
    pod = pod_of(engine={"nccl": {"NCCL_IB_HCA": "mlx5", "NCCL_IB_GID_INDEX": 3}})
    found = [(one["name"], one.get("value")) for one in engine(pod)["env"]]
    assert found[-2:] == [("NCCL_IB_GID_INDEX", "3"), ("NCCL_IB_HCA", "mlx5")]
    assert len({name for name, _ in found}) == len(found)
    assert not any(one["name"].startswith("NCCL") for one in pod["spec"]["initContainers"][0]["env"])


def test_networks_are_there_from_the_first_moment_and_stay_beside_the_users_annotations() -> None:
    networks = {"k8s.v1.cni.cncf.io/networks": "rail0"}
    pod = pod_of(network={"annotations": networks}, podTemplate={"annotations": {"team": "a"}})
    annotations = pod["metadata"]["annotations"]
    assert annotations.items() >= {**networks, "team": "a"}.items()
    assert names.ANNOTATION_POD_TEMPLATE in annotations


def pod_terms(node: Any) -> Iterator[dict[str, Any]]:
    """All terms about other pods."""
    if isinstance(node, dict):
        if "topologyKey" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from pod_terms(child)


@pytest.mark.parametrize("name", SAMPLES)
def test_affinity_selects_pods_of_the_deployment_and_of_no_other_namespace(name: str) -> None:
    for pod in golden.pods(name):
        for term in pod_terms(pod["spec"].get("affinity", {})):
            assert term["labelSelector"]["matchLabels"][names.LABEL_DEPLOYMENT] == "chat"
            assert not {"namespaces", "namespaceSelector"} & term.keys()


def test_groups_keep_apart_from_other_groups_and_stages_stay_with_their_own() -> None:
    affinity = pod_of(FABRIC_SPEC)["spec"]["affinity"]
    apart = affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    others = {"key": names.LABEL_GROUP, "operator": "NotIn", "values": ["3"]}
    assert apart["labelSelector"]["matchExpressions"] == [others]
    near = affinity["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert near["labelSelector"]["matchLabels"][names.LABEL_GROUP] == "3"
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in affinity["podAffinity"]


# -- an identity of the cloud -------------------------------------------------------------------------------------


def injected(pod: Manifest) -> set[str]:
    """Containers to which the webhooks of EKS and Azure give tokens of the pod's account."""
    spec, notes = pod["spec"], pod["metadata"].get("annotations", {})
    skipped = set(notes.get("eks.amazonaws.com/skip-containers", "").split(","))
    assert skipped == set(notes.get("azure.workload.identity/skip-containers", "").split(";"))
    found = {one["name"] for one in (*spec["containers"], *spec.get("initContainers", ()))}
    return found - skipped


def test_an_account_is_for_what_fetches_and_not_for_the_engine() -> None:
    pods = [pod for pod in golden.pods("fabric") if pod["metadata"]["labels"].get(names.LABEL_STAGE)]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["serviceAccountName"] == "model-reader"
        assert spec["automountServiceAccountToken"] is False, "no token for the API server"
        assert not any("projected" in volume for volume in spec["volumes"])
        assert injected(pod) == {"stager"}
        assert names.ENV_OWN_IDENTITY in {one["name"] for one in spec["initContainers"][0]["env"]}
        assert names.ENV_OWN_IDENTITY not in {one["name"] for one in engine(pod)["env"]}


def resolver_of(account: str) -> tuple[list[Manifest], Manifest]:
    spec = {**FABRIC_SPEC["model"], "serviceAccountName": account}
    context = WeightsContext(Key("team", "w"), UID, LlamaWeightsSpec.model_validate(spec), SETTINGS)
    return resolver_objects(context), resolver_job(context, ResolveJob("w-1", 1))


@pytest.mark.parametrize(("account", "expected"), [("", "w-resolver"), ("model-reader", "model-reader")])
def test_a_resolver_runs_as_the_account_and_may_write_one_config_map(account: str, expected: str) -> None:
    objects, job = resolver_of(account)
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == expected
    (binding,) = [one for one in objects if one["kind"] == "RoleBinding"]
    assert [one["name"] for one in binding["subjects"]] == [expected]
    (role,) = [one for one in objects if one["kind"] == "Role"]
    assert [rule["resourceNames"] for rule in role["rules"]] == [["w-manifest"]]


def test_the_account_goes_to_the_weights_that_a_deployment_makes() -> None:
    context = context_of(FABRIC_SPEC)
    assert weights_spec(context, context.spec.model).service_account_name == "model-reader"
    assert weights_in(context).source.startswith("s3://")

"""What the children look like: golden files, Pod Security, and the comparison that decides whether to write."""

import json
from dataclasses import replace
from typing import Any

import pytest

from llama_operator.api import WEIGHTS_KIND
from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects
from llama_operator.manifests.diff import covers, with_digest
from llama_operator.manifests.gateway import gateway_config
from llama_operator.manifests.group import cell_config, group_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.state import plan_state
from llama_operator.plan.groups.weights_lookup import weights_folder
from llama_operator.plan.naming import GroupId
from llama_operator.reconcile import Bodies, snapshot
from llama_serving.config import names
from llama_serving.config.cell import CellConfig
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.gateway import GatewayConfig, ServedAdapter, ServedModels
from tests.fakes.cluster import clone
from tests.fakes.models import view_of
from tests.fakes.samples import CPU_SPEC, GPU_SPEC, NOW, SAMPLES, UID, all_changes, context_of, weights_in, whole_plan
from tests.unit.operator import golden

PODS = [pytest.param(pod, id=f"{name}-{number}") for name in SAMPLES for number, pod in enumerate(golden.pods(name))]


@pytest.mark.parametrize("name", golden.FILES)
def test_golden(name: str) -> None:
    stored = (golden.FOLDER / f"{name}.yaml").read_text()
    assert golden.text(golden.FILES[name]()) == stored, "changed on purpose? python -m tests.unit.operator.golden"


def test_names_of_models_reach_gateways_without_other_pods() -> None:
    """They lie beside the config, which is mounted as a folder, and enter no hash."""
    context = context_of(CPU_SPEC)
    models = ServedModels(adapters=(ServedAdapter(name="style", parent="chat"),))
    before = {(one["kind"], one["metadata"]["name"]): one for one in deployment_objects(context)}
    after = {(one["kind"], one["metadata"]["name"]): one for one in deployment_objects(replace(context, models=models))}
    changed = [key for key in after if after[key] != before[key]]
    assert changed == [("ConfigMap", "chat-gateway")]
    data = after[changed[0]]["data"]
    assert ServedModels.model_validate_json(data[names.GATEWAY_MODELS_FILE]) == models
    assert data.keys() - before[changed[0]]["data"].keys() == {names.GATEWAY_MODELS_FILE}
    volume, _ = after["Deployment", "chat-gateway"]["spec"]["template"]["spec"]["volumes"]
    assert volume == {"name": "config", "configMap": {"name": "chat-gateway"}}, "the whole map, so keys appear"


def engine_container(spec: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]], CellConfig]:
    """The engine's container, its pod's volumes, and the config of its cell."""
    context = context_of(spec)
    group = GroupId("chat", 0, "r1")
    pod = stage_pod(context, CreateStage(group, 0))["spec"]
    return pod["containers"][0], pod["volumes"], cell_config(context, group, weights_in(context).weights)


def test_a_claim_for_compiled_code_is_mounted_and_keyed() -> None:
    container, volumes, cell = engine_container(GPU_SPEC | {"engine": {"cache": {"claimName": "code"}}})
    assert {"name": "cache", "mountPath": names.CACHE_MOUNT} in container["volumeMounts"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "code"}} in volumes
    assert "cache" not in cell.engine_options
    keys = {cell.cache_key}
    for change in ({"sharding": {"pipeline": 4, "tensor": 8}}, {"images": {"serving": "other:1"}}):
        keys.add(engine_container(GPU_SPEC | {"engine": {"cache": {"claimName": "code"}}} | change)[2].cache_key)
    assert len(keys - {""}) == 3


@pytest.mark.parametrize("source", ["s3://models/llama", "pvc://models"])
def test_compiled_code_on_the_claim_of_the_weights_has_a_folder_that_the_engine_may_write(source: str) -> None:
    staged = {"model": GPU_SPEC["model"] | {"source": source}, "staging": {"sharedClaimName": "weights"}}
    container, volumes, cell = engine_container(GPU_SPEC | staged | {"engine": {"cache": {"onStagingClaim": True}}})
    assert {"name": "cache", "mountPath": names.CACHE_MOUNT, "subPath": "engine-cache"} in container["volumeMounts"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}} in volumes
    assert cell.cache_key
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted <= {volume["name"] for volume in volumes}


def test_without_the_field_nothing_of_a_pod_changes() -> None:
    container, _, cell = engine_container(GPU_SPEC)
    assert names.CACHE_MOUNT not in {one["mountPath"] for one in container["volumeMounts"]}
    assert "cache_key" not in cell.to_wire()


@pytest.mark.parametrize("pod", PODS)
def test_pods_satisfy_pod_security_restricted(pod: dict[str, Any]) -> None:
    """The checks of https://kubernetes.io/docs/concepts/security/pod-security-standards, by hand."""
    spec = pod["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    allowed = {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "csi",
        "downwardAPI",
        "ephemeral",
    }
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed, volume
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == names.SERVING_UID > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert "privileged" not in security
        assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("pod", PODS)
def test_pods_run_argument_lists_and_only_gateways_have_a_token(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert container["args"][:2] == ["python3", "-m"]
    assert "command" not in container
    gateway = pod["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_GATEWAY
    assert spec.get("automountServiceAccountToken", True) is gateway
    assert spec["enableServiceLinks"] is False
    assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_object_is_owned_labelled_and_named_within_dns(name: str) -> None:
    context = context_of(SAMPLES[name])
    for child in golden.children(name):
        meta = child["metadata"]
        if child["kind"] == WEIGHTS_KIND:
            continue  # shared: each deployment is one owner of several, none of them its controller
        assert meta["namespace"] == "team"
        assert [owner["uid"] for owner in meta["ownerReferences"]] == [UID]
        assert meta["ownerReferences"][0]["controller"] is True
        assert meta["labels"][names.LABEL_DEPLOYMENT] == context.key.name
        assert meta["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
        assert len(meta["name"]) <= 63
        assert all(len(value) <= 63 for value in meta["labels"].values())


def test_only_the_leader_has_the_rotation_gate_and_the_engines_port() -> None:
    stages = [pod for pod in golden.pods("gpu") if names.LABEL_STAGE in pod["metadata"]["labels"]]
    for pod in stages:
        leader = pod["metadata"]["labels"][names.LABEL_STAGE] == "0"
        assert ("readinessGates" in pod["spec"]) is leader
        ports = {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert (names.PORT_ENGINE in ports) is leader


def test_the_files_in_config_maps_are_what_the_processes_read() -> None:
    context = context_of(GPU_SPEC)
    group, serve = whole_plan(context).actions.groups[1].group, weights_in(context)
    (config_map,) = [one for one in group_objects(context, group, serve) if one["kind"] == "ConfigMap"]
    cell = CellConfig.model_validate_json(config_map["data"]["cell.json"])
    assert cell == cell_config(context, group, serve.weights)
    assert WeightsArtifact.model_validate_json(config_map["data"]["next.json"]) == serve
    assert cell.weights.served_name == "meta/Llama-3.1-405B"
    assert (cell.layout.pipeline, cell.layout.tensor, cell.layout.device) == (2, 8, "gpu")
    assert cell.engine_options == {"enable_prefix_caching": True, "kv_cache_memory_bytes": 20 * 2**30}
    assert cell.stage_hosts[1] == f"stage-1.{group.name}.team.svc"
    (config_map,) = [one for one in deployment_objects(context) if one["kind"] == "ConfigMap"]
    gateway = GatewayConfig.model_validate_json(config_map["data"]["gateway.json"])
    assert gateway == gateway_config(context)
    assert gateway.max_in_flight_per_group * 2 == context.spec.max_concurrent_requests


def test_a_gateway_has_the_time_to_answer_what_waits_before_it_is_killed() -> None:
    context = context_of({**GPU_SPEC, "gateway": {"drainSeconds": 700}})
    (deployment,) = [one for one in deployment_objects(context) if one["kind"] == "Deployment"]
    config = gateway_config(context)
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert (config.drain, grace - config.drain - config.lame_duck >= 5) == (700, True)


def test_a_cell_on_cpu_gets_whole_threads() -> None:
    for context in (context_of({**CPU_SPEC, "resources": {"cpu": "500m"}}), context_of(CPU_SPEC)):
        group = whole_plan(context).actions.groups[0].group
        assert cell_config(context, group, weights_in(context).weights).cpus_per_stage == 1


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("pvc://c", "/models"),
        ("pvc://c/", "/models"),
        ("pvc://c/a/b", "/models/a/b"),
        ("s3://bucket/a", "/weights/0123456789abcdef"),
    ],
)
def test_where_the_weights_are_in_a_pod(source: str, path: str) -> None:
    assert weights_folder(source, "sha256:0123456789abcdef0123") == path


def test_one_group_alone_has_no_budget_that_would_block_its_node() -> None:
    budgets = [one for one in deployment_objects(context_of(CPU_SPEC)) if one["kind"] == "PodDisruptionBudget"]
    assert [one["metadata"]["name"] for one in budgets] == ["chat-gateway"]
    two = [one for one in deployment_objects(context_of(GPU_SPEC)) if one["metadata"]["name"] == "chat-stages"]
    assert [one["spec"]["minAvailable"] for one in two if one["kind"] == "PodDisruptionBudget"] == [2]
    none = deployment_objects(context_of({**CPU_SPEC, "replicas": 0}))
    assert [one["metadata"]["name"] for one in none if one["kind"] == "PodDisruptionBudget"] == ["chat-gateway"]


def test_a_gateway_restarts_when_its_file_changes_and_only_then() -> None:
    def template(**changes: Any) -> dict[str, Any]:
        context = context_of({**CPU_SPEC, **changes})
        (found,) = [one for one in deployment_objects(context) if one["kind"] == "Deployment"]
        return found["spec"]["template"]  # type: ignore[no-any-return]

    assert template(replicas=3) == template()
    assert template(gateway={"maxQueueLength": 7}) != template()
    assert template(gateway={"cors": {"origins": ["*"]}}) != template()
    named = {"model": {**CPU_SPEC["model"], "servedName": "chat"}}
    assert template(**named) == template(), "it is the name of the object anyway"


def test_a_gateway_knows_its_model_and_the_pages_that_may_call() -> None:
    named = gateway_config(context_of({**GPU_SPEC, "gateway": {"cors": {"origins": ["https://a.example", "*"]}}}))
    assert named.served_names == ("meta/Llama-3.1-405B",)
    assert named.cors_origins == ("https://a.example", "*")
    plain = gateway_config(context_of(CPU_SPEC))
    assert (plain.served_names, plain.cors_origins) == (("chat",), ())
    assert not {"served_name", "cors_origins"} & plain.to_file().keys(), "an older gateway would refuse them"


def ingress(manifest: dict[str, Any], port: int) -> list[Any]:
    """Return who may reach a port."""
    rules = manifest["spec"]["ingress"]
    return [peer for rule in rules for one in rule.get("ports", ()) if one["port"] == port for peer in rule["from"]]


def test_who_is_labelled_for_metrics_reaches_the_metrics_of_leaders_and_gateways_and_nothing_else() -> None:
    context = context_of(GPU_SPEC)
    group = whole_plan(context).actions.groups[0].group
    made = [*group_objects(context, group, weights_in(context)), *deployment_objects(context)]
    found = [one for one in made if one["kind"] == "NetworkPolicy"]
    closed = [one for one in found if "ingress" not in one["spec"]]
    assert [one["metadata"]["name"] for one in closed] == ["chat-rehearsals"]
    assert closed[0]["spec"]["policyTypes"] == ["Ingress", "Egress"], "nobody calls a rehearsal"
    policies = [one for one in found if one not in closed]
    assert len(policies) == 2
    label = {"matchLabels": {names.LABEL_METRICS: "enabled"}}
    for policy in policies:
        for peer in ({"namespaceSelector": label}, {"podSelector": label}):
            assert peer in ingress(policy, 9000)
            rules = [rule for rule in policy["spec"]["ingress"] if peer in rule.get("from", ())]
            assert [[one["port"] for one in rule["ports"]] for rule in rules] == [[9000]]


# -- whether to write ------------------------------------------------------------------------------------------------

COVERED: list[tuple[Any, Any, bool]] = [
    ({"a": 1, "b": 2}, {"a": 1}, True),
    ({"a": 1}, {"a": 1, "b": 2}, False),
    (None, {"a": 1}, False),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
    ({"a": [1, 2]}, {"a": [1, 2]}, True),
    ({"a": [1, 2]}, {"a": [1]}, False),
    ({"a": [2, 1]}, {"a": [1, 2]}, False),
    ({"a": [{"name": "x", "protocol": "TCP"}]}, {"a": [{"name": "x"}]}, True),
    ({}, {"a": {}}, True),
    ({}, {"a": []}, True),
    ({"a": [1]}, {"a": []}, False),
    ({}, {"a": False}, False),
    ({}, {"a": ""}, False),
    ({"a": "1"}, {"a": 1}, False),
    ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}, True),
    ({"requests": {"cpu": 1}}, {"requests": {"cpu": "1000m"}}, True),
    ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True),
    ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1G"}}, False),
    ({"limits": {}}, {"limits": {"memory": "1G"}}, False),
    ({"limits": {"memory": "1G", "cpu": "1"}}, {"limits": {"memory": "1G"}}, True),
    ({}, {"limits": {"memory": "1G"}}, False),
    ("text", {"a": 1}, False),
]


@pytest.mark.parametrize(("observed", "wanted", "same"), COVERED)
def test_covers(observed: Any, wanted: Any, same: bool) -> None:
    assert covers(observed, wanted) is same


def observed_after(context: Context, **spec: Any) -> list[dict[str, Any]]:
    body = {"metadata": {"namespace": "team", "name": "chat", "uid": UID}, "spec": {**CPU_SPEC, **spec}}
    written = all_changes(context, snapshot(Bodies(body, ()))).applies
    return [clone(write.manifest) for write in written if not write.manager]


def due(context: Context, children: list[dict[str, Any]]) -> dict[str, list[str]]:
    body = {"metadata": {"namespace": "team", "name": "chat", "uid": UID}, "spec": CPU_SPEC}
    view = view_of(context.spec.model, UID)
    found = all_changes(context, replace(snapshot(Bodies(body, children)), weights={view.name: view}))
    titles = [f"{one.manifest['kind']}/{one.manifest['metadata']['name']}" for one in found.applies]
    return {
        "applies": [title for title in titles if not title.startswith("Pod/")],
        "prunes": [f"{ref.kind}/{ref.name}" for ref in found.prunes],
    }


def test_what_was_written_is_not_written_again() -> None:
    context = context_of(CPU_SPEC)
    assert due(context, observed_after(context)) == {"applies": [], "prunes": []}


def test_a_field_that_we_no_longer_set_is_written_away() -> None:
    context = context_of(CPU_SPEC)
    children = observed_after(context)
    (role,) = [child for child in children if child["kind"] == "Role"]
    older = {key: value for key, value in role.items() if key != "metadata"} | {"aggregated": True}
    older["metadata"] = {**role["metadata"], "annotations": {}}
    children[children.index(role)] = with_digest(older)
    assert due(context, children) == {"applies": ["Role/chat-gateway"], "prunes": []}


def test_fields_of_others_are_left_alone() -> None:
    context = context_of(CPU_SPEC)
    children = observed_after(context)
    for child in children:
        child["metadata"].setdefault("annotations", {})["example.com/theirs"] = "x"
        child["metadata"]["finalizers"] = ["example.com/theirs"]
    assert due(context, children) == {"applies": [], "prunes": []}


def test_only_our_own_left_over_objects_are_deleted() -> None:
    context = context_of(CPU_SPEC)
    children = observed_after(context)
    (template,) = [child for child in children if child["kind"] == "Service" and child["metadata"]["name"] == "chat"]
    changed: dict[str, dict[str, Any]] = {
        "left-over": {},
        "leaving": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "theirs": {"ownerReferences": []},
        "earlier": {"ownerReferences": [{"uid": "another"}]},
    }
    for name, change in changed.items():
        extra = clone(template)
        extra["metadata"] |= {"name": name, **change}
        children.append(extra)
    assert due(context, children) == {"applies": [], "prunes": ["Service/left-over"]}


def test_the_digest_names_the_object_and_is_stable() -> None:
    manifest = {"kind": "X", "metadata": {"name": "x"}}
    marked = with_digest(manifest)
    assert marked == with_digest(json.loads(json.dumps(manifest)))
    assert set(marked["metadata"]["annotations"]) == {names.ANNOTATION_DIGEST}
    assert manifest["metadata"] == {"name": "x"}


# -- weights that several deployments share ---------------------------------------------------------------------------


def weights_due_for(*owners: str, **fields: Any) -> list[tuple[str, str]]:
    """Kind and field manager of what is written for the weights, given who owns them now."""
    context = context_of(CPU_SPEC)
    body = {"metadata": {"namespace": "team", "name": "chat", "uid": UID}, "spec": CPU_SPEC}
    view = view_of(context.spec.model, *owners, **fields)
    found = all_changes(context, replace(snapshot(Bodies(body, ())), weights={view.name: view}))
    return [(write.manifest["kind"], write.manager) for write in found.applies if write.manager]


def test_a_deployment_becomes_an_owner_under_its_own_name_once() -> None:
    assert weights_due_for() == [(WEIGHTS_KIND, f"llama-operator.{UID}")]
    assert weights_due_for("another") == [(WEIGHTS_KIND, f"llama-operator.{UID}")]
    assert weights_due_for("another", UID) == []
    assert weights_due_for(ours=False) == [], "what a user made gets no owner from us"


def test_weights_that_are_not_needed_any_more_are_let_go_of() -> None:
    context = context_of(CPU_SPEC)
    view = view_of(context.spec.model, UID, name="old")
    decided = replace(whole_plan(context), releases=(view,))
    body = {"metadata": {"namespace": "team", "name": "chat"}, "spec": CPU_SPEC}
    there = snapshot(Bodies(body, ()))
    found = changes(decided, plan_state(there, context.settings, NOW), context)
    assert [(ref.kind, ref.name, ref.uid) for ref in found.releases] == [(WEIGHTS_KIND, "old", view.uid)]

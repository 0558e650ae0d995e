"""Names, views and manifests of weights: what deployments share, what a resolver may, what a stage pod mounts."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec, LlamaWeightsSpec, ModelSpec, StagingSpec, content_of
from llama_operator.manifests.common import Context
from llama_operator.manifests.group import group_objects
from llama_operator.manifests.resolver import DEADLINES, WeightsContext, resolver_job, resolver_objects
from llama_operator.manifests.stage import stage_pod, staging_volume
from llama_operator.manifests.weights import weights_due, weights_object
from llama_operator.observe.deployment import WeightsView
from llama_operator.observe.stored_manifest import stored_manifest
from llama_operator.observe.weights import weights_view, weights_views
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.weights_lookup import weights_by_content
from llama_operator.plan.naming import GroupId, manifest_name, resolver_job_name, resolver_name, weights_name
from llama_operator.plan.settings import Settings
from llama_operator.plan.weights.resolve import ResolveJob
from llama_operator.ports import Key
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.names import MAX_WEIGHTS_NAME
from llama_serving.config.source import fill
from tests.fakes.weights import ACCEPTED, FACTS, MANIFEST, NAME, REMOTE, SPEC, UID, manifest_body, weights_body

SETTINGS = Settings("serving:1", "gateway:1", "llama-system")
STATUS: dict[str, Any] = {
    "ready": True, "reason": "Accepted", "message": "fine", "digest": MANIFEST.digest, "resolvedRevision": "0e9e39f",
    "facts": {"architecture": "LlamaForCausalLM", "layers": 30, "hiddenSize": 576, "heads": 9, "kvHeads": 3,
              "headDim": 64, "vocabulary": 49152, "maxContext": 8192, "dtype": "bfloat16", "files": 4,
              "bytes": 269_000_000},
}  # fmt: skip


def model(**changes: Any) -> ModelSpec:
    return ModelSpec.model_validate({**SPEC, **changes})


def context(uid: str = "uid-1", **spec: Any) -> Context:
    found = LlamaDeploymentSpec.model_validate({"model": SPEC, "device": {"resource": "cpu"}, **spec})
    return Context(Key("team", "chat"), uid, found, SETTINGS)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "begins"),
    [
        ("pvc://models/smollm2", "smollm2-"),
        ("pvc://models", "models-"),
        ("pvc://models/llama/{revision}", "llama-"),
        ("s3://models/Llama_3.1-8B/{revision}/", "llama-3-1-8b-"),
        ("hf://meta-llama/Llama-3.1-8B-Instruct", "llama-3-1-8b-instruct-"),
        ("https://host/405b", "w-405b-"),
        ("https://host/{revision}", "host-"),
        ("oci://registry:5000/models/llama", "llama-"),
        ("pvc://models/---", "w-"),
    ],
)
def test_names_of_weights_begin_with_what_a_person_reads(source: str, begins: str) -> None:
    name = weights_name(model(source=source))
    assert name.startswith(begins)
    assert name == begins + content_of(model(source=source))


@given(st.text("abcZ09_.-{}/", min_size=1, max_size=300), st.text("ab09._-", min_size=1, max_size=64))
def test_names_are_dns_labels_and_leave_room(path: str, revision: str) -> None:
    name = weights_name(model(source=f"s3://bucket/{path}", revision=revision))
    for found in (name, manifest_name(name), resolver_name(name), resolver_job_name(name, "01234567")):
        assert len(found) <= 63
        assert found.replace("-", "a").isalnum()
        assert found == found.lower()
        assert found[0].isalpha()
        assert found[-1] != "-"
    assert len(name) <= MAX_WEIGHTS_NAME


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"servedName": "other"}, True),
        ({"source": "pvc://models/other"}, False),
        ({"revision": "v2"}, False),
        ({"license": "mit"}, False),
        ({"credentialsSecret": "s"}, False),
        ({"digest": MANIFEST.digest}, False),
    ],
)
def test_the_same_content_has_the_same_name(change: dict[str, str], same: bool) -> None:
    assert (weights_name(model(**change)) == weights_name(model())) is same
    spec = LlamaWeightsSpec.model_validate({**SPEC, **change})
    assert content_of(spec) == content_of(model(**change))


def test_the_placeholder_is_the_revision() -> None:
    assert fill("s3://b/{revision}/x/{revision}", "v1") == "s3://b/v1/x/v1"
    assert fill("hf://meta/llama", "v1") == "hf://meta/llama"


# -- what deployments see ----------------------------------------------------------------------------------------------


def view(body: dict[str, Any], manifest: dict[str, Any] | None) -> WeightsView:
    return weights_views([body], [manifest] if manifest else [])[body["metadata"]["name"]]


def test_weights_are_ready_together_with_their_manifest() -> None:
    body = weights_body() | {"status": STATUS}
    found = view(body, manifest_body())
    assert (found.ready, found.manifest, found.facts, found.refused) == (True, MANIFEST, FACTS, False)
    assert (found.digest, found.resolved, found.source, found.revision) == (
        MANIFEST.digest, "0e9e39f", "pvc://models/smollm2", "v1",
    )  # fmt: skip
    assert found.content == content_of(model())


@pytest.mark.parametrize(
    "stored",
    [
        None,
        manifest_body(None),
        manifest_body(owner="another"),
        manifest_body(MANIFEST.model_copy(update={"files": MANIFEST.files[:1]})),
        manifest_body() | {"binaryData": {MANIFEST_KEY: "no base64!"}},
        manifest_body() | {"binaryData": {MANIFEST_KEY: "bm8gZ3ppcA=="}},
        manifest_body() | {"binaryData": {MANIFEST_KEY: "H4sIAAAAAAAA/wMAAAAAAAAAAAA="}},
    ],
    ids=["none", "empty", "of another", "of other weights", "no base64", "no gzip", "no json"],
)
def test_without_the_right_manifest_they_are_not_ready(stored: dict[str, Any] | None) -> None:
    found = view(weights_body() | {"status": STATUS}, stored)
    assert (found.ready, found.manifest, found.refused) == (False, None, False)
    assert found.digest == MANIFEST.digest


def test_a_refusal_and_a_spec_of_older_rules_are_told() -> None:
    look = {"key": "k", "number": 1, "at": "2026-01-01T00:00:00Z", "refused": True}
    status = {"reason": "WeightsGone", "message": "no folder", "lastResolve": look}
    found = view(weights_body() | {"status": status}, None)
    assert (found.refused, found.reason, found.message) == (True, "WeightsGone", "no folder")
    old = view(weights_body({**SPEC, "check": "maybe"}) | {"status": STATUS}, manifest_body())
    assert (old.refused, old.ready) == (True, False)
    assert "spec.check is 'maybe'" in old.message


def test_a_manifest_is_decoded_once() -> None:
    body = manifest_body()
    assert stored_manifest(body) is stored_manifest(manifest_body())
    assert stored_manifest(None) is None


def a_view(name: str = NAME, **fields: Any) -> WeightsView:
    return replace(weights_view(weights_body(name=name) | {"status": STATUS}, manifest_body()), **fields)


def test_weights_are_found_by_their_content_whoever_made_them() -> None:
    def found(*views: WeightsView) -> str:
        view = weights_by_content({one.name: one for one in views}).get(content_of(model()))
        return view.name if view else ""

    mine, users = a_view("mine", ours=True), a_view("users")
    assert found() == ""
    assert found(mine) == "mine"
    assert found(mine, users) == "users"
    assert found(mine, replace(users, ready=False)) == "mine"
    assert found(replace(mine, ready=False), replace(users, ready=False)) == "users"
    assert found(a_view("other", content="another")) == ""


@pytest.mark.parametrize(
    ("view", "due"),
    [
        (None, True),
        (a_view(ours=False), False),
        (a_view(ours=True), True),
        (a_view(ours=True, owners=frozenset({"uid-2"})), True),
        (a_view(ours=True, owners=frozenset({"uid-1"})), False),
        (a_view(ours=True, owners=frozenset({"uid-1"}), ready=False), False),
        (a_view(ours=True, owners=frozenset({"uid-1"}), ready=False, resolver_settings="others"), True),
        (a_view(ours=True, owners=frozenset({"uid-1"}), resolver_settings="others"), False),
        (a_view(ours=True, owners=frozenset({"uid-1", "uid-2"}), ready=False, resolver_settings="others"), False),
    ],
    ids=[
        "absent", "a user's", "nobody's", "another's", "mine", "mine, not ready", "mine, placed otherwise",
        "mine, placed otherwise, ready", "shared, placed otherwise",
    ],
)  # fmt: skip
def test_when_weights_are_written(view: WeightsView | None, due: bool) -> None:
    assert weights_due(context(), model(), view) is due


def test_weights_are_looked_at_where_the_stages_will_run() -> None:
    placement = {"nodeSelector": {"pool": "h100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    found = context(placement=placement, images={"pullSecrets": ["regcred"], "pullPolicy": "Always"})
    body = weights_object(found, found.spec.model)
    spec = LlamaWeightsSpec.model_validate(body["spec"])
    assert spec.placement.node_selector == {"pool": "h100"}
    assert spec.placement.tolerations == found.spec.placement.tolerations
    assert (spec.images.pull_secrets, spec.images.pull_policy) == (("regcred",), "Always")
    assert [owner.get("controller", False) for owner in body["metadata"]["ownerReferences"]] == [False]
    written = weights_view({**body, "metadata": {**body["metadata"], "uid": "u"}}, None)
    assert (written.ours, written.owners, written.content) == (True, frozenset({"uid-1"}), content_of(found.spec.model))
    assert not weights_due(found, found.spec.model, written)


# -- the resolver ------------------------------------------------------------------------------------------------------


def resolver(spec: dict[str, Any]) -> WeightsContext:
    return WeightsContext(Key("team", NAME), UID, LlamaWeightsSpec.model_validate(spec), SETTINGS)


def pod_spec(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = resolver_job(resolver(spec), ResolveJob("job", 3))["spec"]["template"]["spec"]
    return found


def arguments(spec: dict[str, Any]) -> str:
    return " ".join(pod_spec(spec)["containers"][0]["args"])


def test_the_command_of_a_look() -> None:
    where = f"--config-map team/{NAME}-manifest"
    begin = "python3 -m llama_serving.weights resolve --source"
    assert arguments(SPEC) == (f"{begin} pvc://models/smollm2 --revision v1 --check full --license apache-2.0 {where}")
    asked = {**REMOTE, "digest": MANIFEST.digest, "check": "listing"}
    assert arguments(asked) == (
        f"{begin} s3://models/smollm2/v1 --revision v1 --check listing --license apache-2.0 "
        f"--expect {MANIFEST.digest} --credentials {names.CREDENTIALS_MOUNT} {where}"
    )


@pytest.mark.parametrize("spec", [SPEC, REMOTE], ids=["claim", "bucket"])
def test_the_resolver_satisfies_pod_security_restricted(spec: dict[str, Any]) -> None:
    found = pod_spec(spec)
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = found["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["image"] == "gateway:1"
    assert {"requests", "limits"} <= container["resources"].keys()


def test_a_claim_is_mounted_read_only_and_a_bucket_gets_its_credentials() -> None:
    claim, bucket = pod_spec(SPEC), pod_spec(REMOTE)
    assert claim["volumes"][1] == {
        "name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    }  # fmt: skip
    mounts = {one["name"]: one for one in claim["containers"][0]["volumeMounts"]}
    assert mounts["model"] == {"name": "model", "mountPath": "/models", "readOnly": True}
    assert "credentials" not in mounts
    mounts = {one["name"]: one for one in bucket["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {"tmp", "credentials"}
    assert mounts["credentials"]["readOnly"] is True


def test_a_look_is_one_try_with_a_deadline() -> None:
    for check, seconds in DEADLINES.items():
        job = resolver_job(resolver({**SPEC, "check": check}), ResolveJob("job", 3))
        assert job["spec"]["backoffLimit"] == 0
        assert job["spec"]["activeDeadlineSeconds"] == seconds
        assert job["metadata"]["annotations"] == {"llama-operator.dev/attempt": "3"}
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_resolver_may_fill_one_config_map_and_nobody_may_call_it() -> None:
    objects = {one["kind"]: one for one in resolver_objects(resolver(SPEC))}
    assert objects["Role"]["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [f"{NAME}-manifest"],
         "verbs": ["patch"]},
    ]  # fmt: skip
    assert not {"data", "binaryData"} & objects["ConfigMap"].keys()
    policy = objects["NetworkPolicy"]["spec"]
    assert (policy["policyTypes"], "ingress" in policy) == (["Ingress", "Egress"], False)
    dns, api = policy["egress"]
    assert [one["port"] for one in dns["ports"]] == [53, 53]
    assert [one["port"] for one in api["ports"]] == [443, 6443, 8443, 16443], "a claim is no place in the network"
    (remote,) = (one for one in resolver_objects(resolver(REMOTE)) if one["kind"] == "NetworkPolicy")
    assert remote["spec"]["egress"][:2] == policy["egress"]
    assert {"namespaceSelector": {}} in remote["spec"]["egress"][2]["to"]
    labels = resolver_job(resolver(SPEC), ResolveJob("job", 1))["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    for one in objects.values():
        assert [owner["uid"] for owner in one["metadata"]["ownerReferences"]] == [UID]
        assert one["metadata"]["labels"][names.LABEL_WEIGHTS] == NAME


# -- stage pods --------------------------------------------------------------------------------------------------------

GROUP = GroupId("chat", 0, "01234567")


def stage(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = stage_pod(context(**spec), CreateStage(GROUP, 0))["spec"]
    return found


def mounts(container: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {one["name"]: (one["mountPath"], one.get("readOnly", False)) for one in container["volumeMounts"]}


def test_the_stager_is_a_sidecar_that_shares_the_control_folder_with_the_engine() -> None:
    pod = stage()
    (stager,), (engine,) = pod["initContainers"], pod["containers"]
    assert (stager["restartPolicy"], stager["image"]) == ("Always", "gateway:1")
    assert stager["args"] == ["python3", "-m", "llama_serving.weights", "stage"]
    for container in (stager, engine):
        assert mounts(container)["control"] == (names.CONTROL_MOUNT, False)
        assert mounts(container)["model"] == (names.MODEL_MOUNT, True)
    assert "token" not in mounts(stager)
    assert stager["env"][0] == {"name": names.ENV_STAGE, "value": "0"}


def test_the_stager_is_told_a_limit_that_its_volume_does_not_know() -> None:
    (stager,) = stage(model=REMOTE, staging={"sizeLimit": "1Gi"})["initContainers"]
    assert stager["args"][-2:] == ["--size-limit", str(1 << 30)]


def test_only_the_stager_sees_credentials_and_only_it_writes_weights() -> None:
    pod = stage(model=REMOTE)
    (stager,), (engine,) = pod["initContainers"], pod["containers"]
    assert mounts(stager)["credentials"] == (names.CREDENTIALS_MOUNT, True)
    assert "credentials" not in mounts(engine)
    assert mounts(stager)["weights"] == (names.WEIGHTS_MOUNT, False)
    assert mounts(engine)["weights"] == (names.WEIGHTS_MOUNT, True)
    assert "model" not in mounts(engine)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["credentials"]["secret"] == {"secretName": "s3", "defaultMode": 0o440}
    used = mounts(stager).keys() | mounts(engine).keys()
    assert volumes.keys() == used


@pytest.mark.parametrize(
    ("staging", "volume"),
    [
        ({}, {"emptyDir": {}}),
        ({"sizeLimit": "100Gi"}, {"emptyDir": {"sizeLimit": "100Gi"}}),
        ({"sharedClaimName": "shared"}, {"persistentVolumeClaim": {"claimName": "shared"}}),
        (
            {"volumeClaimTemplate": {"size": "9Gi"}},
            {"ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "9Gi"}}}}}},
        ),
        (
            {"volumeClaimTemplate": {"size": "9Gi", "storageClassName": "fast"}},
            {"ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "9Gi"}},
                "storageClassName": "fast"}}}},
        ),
    ],
)  # fmt: skip
def test_where_weights_lie(staging: dict[str, Any], volume: dict[str, Any]) -> None:
    assert staging_volume(StagingSpec.model_validate(staging)) == {"name": "weights", **volume}


@pytest.mark.parametrize(("spec", "open_"), [(SPEC, False), (REMOTE, True)], ids=["claim", "bucket"])
def test_a_stage_reaches_the_world_only_where_weights_come_from_there(spec: dict[str, Any], open_: bool) -> None:
    weights = WeightsRef(path="/weights/x", id="v1@x", served_name="chat", digest=ACCEPTED.digest)
    serve = WeightsArtifact(weights=weights, source=fill(spec["source"], "v1"), revision="v1", manifest=MANIFEST)
    objects = {one["kind"]: one for one in group_objects(context(model=spec), GROUP, serve)}
    egress = objects["NetworkPolicy"]["spec"]["egress"]
    assert any("ipBlock" in peer for rule in egress for peer in rule.get("to", ())) is open_
    assert {} not in egress
    files = objects["ConfigMap"]["data"]
    assert WeightsArtifact.model_validate_json(files["next.json"]) == serve

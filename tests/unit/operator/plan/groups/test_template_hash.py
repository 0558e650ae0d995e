"""The template hash names what makes a stage's pod different, and nothing else."""

import json
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from llama_operator.api import (
    AdapterLimitsSpec,
    ChatTemplateRef,
    ClaimTemplate,
    EngineCache,
    LlamaDeploymentSpec,
    Toleration,
)
from llama_operator.api.v1alpha1.placement import NodeExpression, NodeTerm, PreferredNodeTerm
from llama_operator.api.v1alpha1.verification import GoldenPromptSpec, NamedTextSpec
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.images import serving_image
from llama_operator.plan.groups.template_hash import SHAPE, SPEC, VERIFICATION, template_hash, verification_hash
from llama_operator.plan.naming import GroupId, gateway_name, stage_hostname, stages_name, token_name
from llama_operator.plan.placement.layout import check_layout
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts
from tests.fakes.models import FACTS
from tests.fakes.world import SETTINGS, spec_of


def spec(**changes: Any) -> LlamaDeploymentSpec:
    return LlamaDeploymentSpec.model_validate(spec_of(**changes))


def hash_of(settings: Settings = SETTINGS, facts: ModelFacts = FACTS, **changes: Any) -> str:
    wanted = spec(**changes)
    return template_hash(wanted, facts, serving_image=serving_image(wanted, settings))


MODEL = spec_of()["model"]
BASE = hash_of()


GPU: dict[str, Any] = {
    "device": {"resource": "nvidia.com/gpu", "count": 8},
    "sharding": {"pipeline": 2, "tensor": 8},
    "resources": {"cpu": "64", "memory": "1Ti", "sharedMemory": "32Gi"},
}
PLACED: dict[str, Any] = {
    "nodeSelector": {"pool": "h100"},
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
    "spreadStages": True,
    "priorityClassName": "serving",
    "scheduling": "perPod",
}
ENGINE: dict[str, Any] = {
    "enablePrefixCaching": True, "maxNumBatchedTokens": 8192, "kvCacheDtype": "fp8", "kvCacheMemory": "20Gi",
    "quantization": "fp8", "enforceEager": False, "blockSize": 32, "longPrefillTokenThreshold": 4096, "seed": 7,
}  # fmt: skip


FABRIC: dict[str, Any] = {
    "device": {
        **GPU["device"], "extra": {"rdma/hca": 8, "hugepages-2Mi": "5Gi"}, "ipcLock": True, "claimTemplate": "gpus",
    },
    "network": {"annotations": {"k8s.v1.cni.cncf.io/networks": "rail0,rail1"}},
    "engine": {"nccl": {"NCCL_IB_HCA": "mlx5", "NCCL_IB_GID_INDEX": 3}},
}  # fmt: skip
NEAR: dict[str, Any] = {
    "runtimeClassName": "nvidia", "schedulerName": "volcano", "stagesTogether": "nvidia.com/gpu.clique",
    "groupsApart": "topology.kubernetes.io/zone",
    "nodeAffinity": {
        "required": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a", "b"]}]}],
        "preferred": [{"weight": 5, "matchExpressions": [{"key": "fast", "operator": "Exists"}]}],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({}, "74545bdd"),
        (GPU | FABRIC, "23c0844b"),
        (GPU | {"placement": NEAR}, "92199b8b"),
        ({"model": MODEL | {"source": "s3://a/b", "serviceAccountName": "reader"}}, "555d169a"),
        (GPU, "138f701f"),
        (GPU | {"placement": PLACED}, "ca3b0cb3"),
        (GPU | {"engine": ENGINE}, "410e8f7a"),
        (
            GPU | {"engine": {"gpuMemoryUtilization": 0.5}, "dtype": "bfloat16", "maxConcurrentRequests": 128},
            "b5bef736",
        ),
        ({"model": MODEL | {"source": "hf://a/b", "credentialsSecret": "hub"}}, "03ee2d5b"),
        ({"model": MODEL | {"source": "s3://a/b"}, "staging": {"sharedClaimName": "weights"}}, "79226856"),
        (GPU | {"engine": {"cache": {"claimName": "code"}}}, "f91100a0"),
        (
            {
                "model": MODEL | {"source": "s3://a/b"},
                "staging": {"sharedClaimName": "weights"},
                "engine": {"cache": {"onStagingClaim": True}},
            },
            "3df50a21",
        ),
        ({"staging": {"volumeClaimTemplate": {"size": "60Gi"}}}, "7822601e"),
        ({"staging": {"volumeClaimTemplate": {"size": "60Gi", "storageClassName": "fast"}}}, "0f35b01c"),
        ({"staging": {"sizeLimit": "60Gi"}}, "c5a584a2"),
        ({"images": {"serving": "a:1", "pullPolicy": "Always", "pullSecrets": ["regcred"]}}, "60cbfd8f"),
        ({"drainTimeoutSeconds": 60, "startTimeoutSeconds": 7200, "contextLength": 131072}, "5163538b"),
        ({"model": MODEL | {"tools": "hermes", "reasoning": "off"}}, "3c313cc2"),
        ({"engine": {"toolCallParser": "hermes"}, "model": MODEL | {"reasoning": "off"}}, "3c313cc2"),
        ({"model": MODEL | {"chatTemplate": {"configMap": "t", "text": "{{ messages }}"}}}, "7feb4835"),
        ({"rollout": {"restartedAt": "2026-01-31T12:00:00Z"}}, "404ae918"),
        ({"rollout": {"restartedAt": "2026-01-31T14:00:00+02:00"}}, "404ae918"),
    ],
)
def test_a_hash_never_changes_by_itself(changes: dict[str, Any], golden: str) -> None:
    """Literals: another value here restarts the models of users."""
    assert hash_of(**changes) == golden


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({}, "9d51e365"),
        (
            {"verify": {"goldenPrompts": [{"prompt": "a", "expect": "b", "maxTokens": 8}], "maxLogprobDrop": 1}},
            "9c3097ac",
        ),
        ({"verify": {"qualityTexts": ["c"], "agreement": False}, "rollout": {"canary": {"groups": 1}}}, "935266d9"),
    ],
)
def test_a_hash_of_the_verification_never_changes_by_itself(changes: dict[str, Any], golden: str) -> None:
    """Literals: another value here tries every rollout again that was given up."""
    assert verification_hash(spec(**changes), key="k") == golden


#: Fields that make no pod different; a new field of the spec stands here or in the hash.
NOT_IN_A_POD = {
    "replicas", "autoscaling", "gateway", "rollout", "verify", "images.gateway", "images.serving",
    "model.source", "model.revision", "model.served_name", "model.license", "model.accept_license", "model.digest",
    "placement.scheduling", "pod_template", "adapters", "adapter_selector", "access",
}  # fmt: skip
NODES = NodeTerm(match_expressions=(NodeExpression(key="pool", operator="Exists"),))
OTHER_VALUES = {
    "placement.node_selector": {"a": "b"},
    "placement.tolerations": (Toleration(key="a"),),
    "staging.volume_claim_template": ClaimTemplate(size="1Gi"),
    "placement.node_affinity.required": (NODES,),
    "placement.node_affinity.preferred": (PreferredNodeTerm(match_expressions=NODES.match_expressions, weight=1),),
    "device.extra": {"rdma/hca": "1"},
    "engine.nccl": {"NCCL_DEBUG": "INFO"},
    "network.annotations": {"k8s.v1.cni.cncf.io/networks": "rail0"},
    "engine.cache": EngineCache(claim_name="cache"),
    "model.chat_template": ChatTemplateRef(config_map="templates", text="{{ messages }}"),
    "adapter_limits": AdapterLimitsSpec(slots=4, held=16, max_rank=16),
}


def leaves(model: BaseModel, path: str = "") -> Iterator[str]:
    """Paths of all fields, but for those that are known to make no pod different."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if f"{path}{name}" in NOT_IN_A_POD:
            continue
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


M = TypeVar("M", bound=BaseModel)


def with_other(model: M, path: str, value: object) -> M:
    """The model with another value at the path."""
    name, dot, rest = path.partition(".")
    return model.model_copy(update={name: with_other(getattr(model, name), rest, value) if dot else value})


@pytest.mark.parametrize("path", tuple(leaves(spec())))
def test_every_field_that_is_in_a_pod_is_in_the_hash(path: str) -> None:
    other = with_other(spec(), path, OTHER_VALUES.get(path, "other"))
    assert template_hash(other, FACTS, serving_image=SETTINGS.serving_image) != BASE


PROMPT = {"prompt": "a", "expect": "b"}
OTHER_CHECKS: dict[str, tuple[BaseModel, ...]] = {
    "verify.golden_prompts": (GoldenPromptSpec(prompt="a"),),
    "verify.named_quality_texts": (NamedTextSpec(name="a", text="b"),),
}


@pytest.mark.parametrize(
    "change",
    [
        {"maxTokens": 33},
        {"chat": False},
        {"tools": [{"name": "f"}]},
        {"tools": [{"name": "f", "description": "d"}]},
        {"tools": [{"name": "f", "parameters": "{}"}]},
        {"tools": [{"name": "f"}], "expectCall": {"name": "f"}},
        {"tools": [{"name": "f"}], "expectCall": {"name": "f", "arguments": '{"a": 1}'}},
        {"schema": "{}"},
    ],
    ids=str,
)
def test_every_field_of_a_golden_prompt_is_in_the_hash_of_the_verification(change: dict[str, Any]) -> None:
    def hash_with(*prompts: dict[str, Any]) -> str:
        return verification_hash(spec(verify={"goldenPrompts": prompts}), key="k")

    assert len({hash_with(), hash_with(PROMPT), hash_with(PROMPT | change)}) == 3


def test_what_is_no_new_field_leaves_the_hash_of_a_verification_as_it_was() -> None:
    """A rollout that is held under an older operator is not tried again by a newer one."""
    assert verification_hash(spec(), key="k") == "9d51e365"
    asked = {"goldenPrompts": [PROMPT | {"maxTokens": 5, "pattern": "c", "chat": False}], "qualityTexts": ["text"]}
    assert verification_hash(spec(verify=asked), key="k") == "95f7fd5f"


@pytest.mark.parametrize("section", ["verify", "rollout.canary"])
def test_every_field_of_the_verification_is_in_its_hash(section: str) -> None:
    first = verification_hash(spec(), key="k")
    for path in leaves(attrgetter(section)(spec()), f"{section}."):
        value = OTHER_CHECKS.get(path, "other")
        assert verification_hash(with_other(spec(), path, value), key="k") != first, path


def test_a_hash_has_no_key_twice() -> None:
    for parts in (SPEC, SHAPE, VERIFICATION):
        assert len({part.key for part in parts}) == len(parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": 5},
        {"gateway": {"replicas": 7, "maxQueueLength": 3}},
        {"images": {"gateway": "other:1"}},
        {"images": {"serving": SETTINGS.serving_image}},
        {"images": {}},
        {"dtype": "auto"},
        {"rollout": {"strategy": "surge", "paused": True}},
        {"verify": {"goldenPrompts": [{"prompt": "a", "expect": "b"}]}},
        {"model": MODEL | {"revision": "v2"}},
        {"model": MODEL | {"source": "pvc://models/other"}},
        {"model": MODEL | {"source": "pvc://models/{revision}"}},
        {"model": MODEL | {"servedName": "chat"}},
        {"model": MODEL | {"license": "llama3.1"}},
        {"placement": {"nodeSelector": {}, "tolerations": []}},
        {"placement": {"nodeAffinity": {"required": []}, "runtimeClassName": ""}},
        {"device": {"resource": "cpu", "count": 1, "extra": {}, "ipcLock": False}},
        {"engine": {"nccl": {}}, "network": {"annotations": {}}},
        {"model": MODEL | {"tools": "auto", "reasoning": "auto"}},
        {"resources": {"cpu": 4}},
    ],
    ids=str,
)
def test_what_changes_no_pod_changes_no_hash(changes: dict[str, Any]) -> None:
    assert hash_of(**changes) == BASE


@pytest.mark.parametrize(
    "changes",
    [
        {"contextLength": 1024},
        {"dtype": "float32"},
        {"maxConcurrentRequests": 8},
        {"drainTimeoutSeconds": 60},
        {"startTimeoutSeconds": 60},
        {"sharding": {"pipeline": 3}},
        {"device": {"resource": "nvidia.com/gpu", "count": 1}},
        {"resources": {"cpu": "8"}},
        {"images": {"serving": "other:1"}},
        {"images": {"pullPolicy": "Always"}},
        {"images": {"pullSecrets": ["s"]}},
        {"engine": {"seed": 1}},
        {"placement": {"nodeSelector": {"a": "b"}}},
        {"placement": {"spreadStages": True}},
        {"model": MODEL | {"source": "pvc://other/m"}},
        {"model": MODEL | {"tools": "off"}},
        {"model": MODEL | {"reasoning": "deepseek_r1"}},
        {"model": MODEL | {"chatTemplate": {"configMap": "templates"}}},
        {"engine": {"toolCallParser": "hermes"}},
        {"model": MODEL | {"source": "s3://bucket/m"}},
    ],
    ids=str,
)
def test_what_changes_a_pod_changes_the_hash(changes: dict[str, Any]) -> None:
    assert hash_of(**changes) != BASE


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"bytes": 1}, True),
        ({"files": 9}, True),
        ({"max_context": 9}, True),
        ({"layers": 31}, False),
        ({"vocabulary": 9}, False),
        ({"dtype": "float16"}, False),
        ({"quantization": "fp8"}, False),
        ({"tied_embeddings": True}, False),
    ],
    ids=str,
)
def test_only_weights_of_one_shape_are_exchanged_in_the_same_pods(changes: dict[str, Any], same: bool) -> None:
    assert (hash_of(facts=FACTS.model_copy(update=changes)) == BASE) is same


def test_where_staged_weights_come_from_changes_no_pod() -> None:
    assert hash_of(model=MODEL | {"source": "s3://b/m"}) == hash_of(model=MODEL | {"source": "hf://org/m"})


def test_the_image_that_the_stages_run_counts_and_that_of_the_gateway_does_not() -> None:
    other = Settings("serving:2", "gateway:1", "llama-system")
    assert hash_of(other) != BASE
    assert hash_of(Settings("serving:1", "gateway:2", "elsewhere")) == BASE


def test_the_order_of_keys_does_not_matter() -> None:
    one = hash_of(placement={"nodeSelector": {"a": "1", "b": "2"}})
    assert one == hash_of(placement={"nodeSelector": {"b": "2", "a": "1"}})
    assert short_hash(json.loads('{"a": 1, "b": 2}')) == short_hash(json.loads('{"b": 2, "a": 1}'))


def test_names_at_the_limits_of_the_crd_fit_into_dns() -> None:
    name = "n" * 45
    group = GroupId(name, 999, "01234567")
    longest = [group.name, group.pod(127), gateway_name(name), stages_name(name), token_name(name),
               stage_hostname(127)]  # fmt: skip
    assert max(len(one) for one in longest) <= 63
    assert group.pod(127) == f"{name}-01234567-999-127"
    assert group.host(3, "team") == f"stage-3.{name}-01234567-999.team.svc"


# -- layout -----------------------------------------------------------------------------------------------------------


def facts(**changes: int) -> ModelFacts:
    return FACTS.model_copy(update={"heads": 32, "kv_heads": 8, "layers": 32, "max_context": 131072} | changes)


@pytest.mark.parametrize(
    ("tensor", "found", "words"),
    [
        (1, facts(), None),
        (8, facts(), None),
        (16, facts(), None),
        (32, facts(), None),
        (3, facts(), "32 attention heads cannot be split evenly over 3 devices; use one of 1, 2, 4, 8, 16, 32"),
        (4, facts(heads=12, kv_heads=6), "6 KV heads can be neither split nor repeated evenly over 4 devices"),
        (2, facts(heads=12, kv_heads=6), None),
    ],
)
def test_tensor_against_heads(tensor: int, found: ModelFacts, words: str | None) -> None:
    holds = check_layout(spec(sharding={"pipeline": 1, "tensor": tensor}), found)
    assert [hold.reason.value for hold in holds] == ["LayoutRefused"] * bool(words)
    assert all((words or "") in hold.detail for hold in holds)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sharding": {"pipeline": 33}}, "spec.sharding.pipeline is 33, but the model has 32 layers"),
        ({"sharding": {"pipeline": 32}}, None),
        ({"contextLength": 131073}, "use at most 131072"),
        ({"contextLength": 131072}, None),
    ],
)
def test_pipeline_and_context(changes: dict[str, Any], words: str | None) -> None:
    holds = check_layout(spec(**changes), facts())
    assert len(holds) == bool(words)
    assert all((words or "") in hold.detail for hold in holds)


def test_all_contradictions_are_named_at_once() -> None:
    assert len(check_layout(spec(sharding={"pipeline": 99, "tensor": 3}, contextLength=10**6), facts())) == 3

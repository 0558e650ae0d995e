"""The revision names what makes a stage's pod different, and nothing else."""

import json
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.images import serving_image
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.naming import GroupId, gateway_name, stage_hostname, stages_name, token_name
from llama_operator.plan.placement.layout import check_layout
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts
from tests.fakes.models import FACTS
from tests.fakes.world import SETTINGS, spec_of


def spec(**changes: Any) -> LlamaDeploymentSpec:
    return LlamaDeploymentSpec.model_validate(spec_of(**changes))


def revision(settings: Settings = SETTINGS, facts: ModelFacts = FACTS, **changes: Any) -> str:
    wanted = spec(**changes)
    return template_hash(wanted, facts, serving_image=serving_image(wanted, settings))


MODEL = spec_of()["model"]
BASE = revision()


def test_a_revision_never_changes_by_itself() -> None:
    """A literal: another value here restarts every model of every user."""
    assert BASE == "74545bdd"


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
        {"resources": {"cpu": 4}},
    ],
    ids=str,
)
def test_what_changes_no_pod_changes_no_revision(changes: dict[str, Any]) -> None:
    assert revision(**changes) == BASE


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
        {"model": MODEL | {"source": "s3://bucket/m"}},
    ],
    ids=str,
)
def test_what_changes_a_pod_changes_the_revision(changes: dict[str, Any]) -> None:
    assert revision(**changes) != BASE


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
    assert (revision(facts=FACTS.model_copy(update=changes)) == BASE) is same


def test_where_staged_weights_come_from_changes_no_pod() -> None:
    assert revision(model=MODEL | {"source": "s3://b/m"}) == revision(model=MODEL | {"source": "hf://org/m"})


def test_the_default_image_of_the_operator_counts_where_the_spec_names_none() -> None:
    other = Settings("serving:2", "gateway:1", "llama-system")
    assert revision(other) != BASE
    assert revision(Settings("serving:1", "gateway:2", "elsewhere")) == BASE


def test_the_order_of_keys_does_not_matter() -> None:
    one = revision(placement={"nodeSelector": {"a": "1", "b": "2"}})
    assert one == revision(placement={"nodeSelector": {"b": "2", "a": "1"}})
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

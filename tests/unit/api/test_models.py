from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from llama_operator.api import (
    Condition,
    EngineSpec,
    LlamaDeploymentSpec,
    ModelFactsStatus,
    ModelSpec,
    ModelStatus,
    StageResources,
)
from llama_serving.config.model import ModelFacts
from llama_serving.config.source import Address, is_mounted, parse, split

MODEL = {"source": "pvc://llama/8b", "revision": "v1", "license": "llama3.1", "acceptLicense": True}


def test_camel_case_on_the_wire_and_snake_case_in_python() -> None:
    spec = LlamaDeploymentSpec.model_validate({"model": MODEL, "contextLength": 1024, "gateway": {"maxQueueLength": 5}})
    assert (spec.context_length, spec.gateway.max_queue_length) == (1024, 5)
    assert spec.to_api()["gateway"]["maxQueueLength"] == 5


def test_what_was_written_is_read_back() -> None:
    spec = LlamaDeploymentSpec.model_validate({"model": MODEL, "engine": {"seed": 1}})
    assert LlamaDeploymentSpec.model_validate(spec.to_api()) == spec


def test_fields_of_a_newer_crd_are_passed_over() -> None:
    assert LlamaDeploymentSpec.model_validate({"model": MODEL, "fromTheFuture": 1}).replicas == 1


def test_quantities_may_be_numbers() -> None:
    assert StageResources.model_validate({"cpu": 8, "memory": "64Gi"}).cpu == "8"
    with pytest.raises(ValidationError):
        StageResources.model_validate({"cpu": True})


def test_engine_options_have_the_names_of_the_engine() -> None:
    engine = EngineSpec.model_validate({"kvCacheMemory": "1Gi", "enforceEager": False, "kvCacheDtype": "fp8"})
    assert engine.options() == {"kv_cache_memory_bytes": 2**30, "enforce_eager": False, "kv_cache_dtype": "fp8"}
    assert EngineSpec().options() == {}


@pytest.mark.parametrize(
    ("source", "claim", "path"),
    [
        ("pvc://a", "a", ""),
        ("pvc://a/", "a", ""),
        ("pvc://a.b/c", "a.b", "c"),
        ("pvc://a/b/c/", "a", "b/c"),
    ],
)
def test_sources(source: str, claim: str, path: str) -> None:
    assert parse(source) == Address("pvc", claim, path)


@pytest.mark.parametrize("source", ["", "a/b", "pvc://", "pvc:///a", "pvc://a/../b", "pvc://a/./b"])
def test_sources_that_are_not_served(source: str) -> None:
    with pytest.raises(ValueError, match=r"is no source|climbs"):
        parse(source)


@pytest.mark.parametrize(
    ("source", "scheme", "mounted"),
    [("pvc://a/b", "pvc", True), ("hf://a/b", "hf", False), ("s3://a/b", "s3", False), ("oci://a/b", "oci", False)],
)
def test_what_has_to_be_brought_into_a_pod(source: str, scheme: str, mounted: bool) -> None:
    assert (split(source).scheme, is_mounted(source)) == (scheme, mounted)


def test_the_served_name_is_the_objects_own_unless_it_is_said() -> None:
    def served(model: dict[str, object]) -> str:
        return ModelSpec.model_validate(model).name_in_api("llama")

    assert served(MODEL) == "llama"
    assert served({**MODEL, "servedName": "meta/llama"}) == "meta/llama"


def test_moments_are_whole_seconds_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone(timedelta(hours=2)))
    condition = Condition(type="Available", status="True", reason="Serving", message="", last_transition_time=moment)
    assert condition.to_api()["lastTransitionTime"] == "2026-01-02T01:04:05Z"
    back = Condition.model_validate(condition.to_api())
    assert back.last_transition_time == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)


def test_the_facts_are_those_of_the_resolver() -> None:
    assert ModelFactsStatus.model_fields.keys() == ModelFacts.model_fields.keys()
    facts = {"kvHeads": 8, "headDim": 128, "hiddenSize": 4096, "maxContext": 8192, "dtype": "bfloat16", "files": 4}
    facts |= {"architecture": "LlamaForCausalLM", "layers": 32, "heads": 32, "vocabulary": 128256, "bytes": 1}
    status = ModelStatus.model_validate({"key": "k", "outcome": "accepted", "facts": facts})
    assert status.to_api()["facts"].items() >= facts.items()

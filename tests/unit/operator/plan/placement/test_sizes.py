"""Sizes against a model: what is too small by any count is refused, and nothing that could run."""

from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.placement.layout import check_layout
from llama_serving.config.model import ModelFacts
from llama_serving.config.reasons import Reason
from tests.fakes.models import FACTS
from tests.fakes.world import spec_of

FETCHED = {"source": "hf://org/m", "revision": "v1", "license": "llama3.1", "acceptLicense": True}
GPU = {"device": {"resource": "nvidia.com/gpu"}}
#: 16 GB in bfloat16; the largest of two stages has 16 layers: 65536 bytes of KV cache a token, and 8 GB of weights.
LARGE = FACTS.model_copy(
    update={"layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "max_context": 131072, "bytes": 16_000_000_000}
)


def said(facts: ModelFacts = LARGE, **changes: Any) -> str:
    """What is refused of two stages on CPU, one sentence at most."""
    holds = check_layout(LlamaDeploymentSpec.model_validate(spec_of(**changes)), facts)
    assert len(holds) <= 1
    assert all(hold.reason is Reason.LAYOUT_REFUSED for hold in holds)
    return holds[0].detail if holds else ""


@pytest.mark.parametrize(
    ("cache", "changes", "refused"),
    [
        ("128Mi", {"contextLength": 2048}, False),  # exactly one context
        ("127Mi", {"contextLength": 2048}, True),
        ("128Mi", {"contextLength": 2049}, True),
        ("128Mi", {"contextLength": 2048, "dtype": "float32"}, True),
        ("256Mi", {"contextLength": 2048, "dtype": "float32"}, False),
        ("128Mi", {"contextLength": 2048, "sharding": {"pipeline": 1}}, True),
        ("32Mi", {"contextLength": 2048, **GPU, "sharding": {"pipeline": 2, "tensor": 4}}, False),
        ("31Mi", {"contextLength": 2048, **GPU, "sharding": {"pipeline": 2, "tensor": 4}}, True),
        ("16Mi", {"contextLength": 2048, **GPU, "sharding": {"pipeline": 2, "tensor": 32}}, False),  # a head each
    ],
)
def test_a_kv_cache_that_holds_no_request(cache: str, changes: dict[str, Any], *, refused: bool) -> None:
    assert bool(said(engine={"kvCacheMemory": cache}, **changes)) is refused


def test_an_fp8_cache_needs_half() -> None:
    assert said(engine={"kvCacheMemory": "64Mi", "kvCacheDtype": "fp8"}, contextLength=2048) == ""
    assert said(engine={"kvCacheMemory": "64Mi", "kvCacheDtype": "bfloat16"}, contextLength=2048).startswith(
        "spec.engine.kvCacheMemory is 64Mi, but one request of spec.contextLength 2048 needs 134 MB of KV cache"
    )


@pytest.mark.parametrize(
    ("memory", "changes", "refused"),
    [
        ("4Gi", {}, False),  # the files may be in float32, which config.json does not tell
        ("3Gi", {}, True),
        ("3Gi", {"sharding": {"pipeline": 4}}, False),
        ("3Gi", GPU, False),  # the device has the weights
        ("7Gi", {"dtype": "float32"}, True),
        ("8Gi", {"dtype": "float32"}, False),
        ("2Gi", {"engine": {"quantization": "fp8"}}, False),
        ("1Gi", {"engine": {"quantization": "fp8"}}, True),
    ],
)
def test_a_stage_on_cpu_that_cannot_hold_its_weights(memory: str, changes: dict[str, Any], *, refused: bool) -> None:
    assert bool(said(resources={"memory": memory}, **changes)) is refused


def test_weights_in_float32_may_be_loaded_in_half() -> None:
    stored = LARGE.model_copy(update={"dtype": "float32", "bytes": 32_000_000_000})
    assert said(stored, resources={"memory": "8Gi"}) == ""
    assert "resources.memory is 8Gi" in said(stored, resources={"memory": "8Gi"}, dtype="float32")


def test_a_checkpoint_may_name_a_smaller_type_for_its_cache() -> None:
    quantized = LARGE.model_copy(update={"quantization": "modelopt"})
    assert said(quantized, engine={"kvCacheMemory": "32Mi"}, contextLength=2048) == ""
    assert said(quantized, engine={"kvCacheMemory": "31Mi"}, contextLength=2048)


@pytest.mark.parametrize(
    ("staging", "words"),
    [
        ({"sizeLimit": "8Gi"}, ""),
        ({"sizeLimit": "7Gi"}, "spec.staging.sizeLimit is 7Gi, but with 2 stages at least 8.0 GB"),
        ({"volumeClaimTemplate": {"size": "8Gi"}}, ""),
        ({"volumeClaimTemplate": {"size": "7Gi"}}, "spec.staging.volumeClaimTemplate.size is 7Gi"),
        ({"sharedClaimName": "weights"}, ""),
        ({}, ""),
    ],
)
def test_a_volume_that_cannot_hold_what_is_fetched(staging: dict[str, Any], words: str) -> None:
    found = said(model=FETCHED, staging=staging)
    assert found.startswith(words)
    assert bool(found) is bool(words)


def test_a_mounted_model_is_not_staged() -> None:
    assert said(staging={"sizeLimit": "64Mi"}) == ""

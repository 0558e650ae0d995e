"""What a stage gets for which nobody asked: the formula's values for known models, and what holds for all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import FORMER_SIZE, LlamaDeploymentSpec, StageSize
from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.api.v1alpha1.status import DefaultImages
from llama_operator.plan.groups.images import stage_defaults, taken_defaults, with_defaults
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.placement.stage_size import derived_size
from llama_serving.config.model import ModelFacts
from tests.fakes.models import FACTS
from tests.fakes.world import SETTINGS, spec_of

GI = 2**30


def spec(tensor: int = 1, pipeline: int = 1, **changes: Any) -> LlamaDeploymentSpec:
    device = {"resource": "nvidia.com/gpu", "count": tensor}
    sharding = {"pipeline": pipeline, "tensor": tensor}
    return LlamaDeploymentSpec.model_validate(spec_of(device=device, sharding=sharding, resources={}) | changes)


def facts(size: int, **changes: Any) -> ModelFacts:
    return FACTS.model_copy(
        update={"bytes": size, "layers": 126, "heads": 128, "kv_heads": 8, "head_dim": 128} | changes
    )


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        (spec(1), 16_060_522_496, StageSize("6", "29Gi", "2Gi")),  # 8B
        (spec(4), 141_107_412_992, StageSize("12", "159Gi", "3Gi")),  # 70B
        (spec(8, 2), 811_706_941_440, StageSize("20", "423Gi", "5Gi")),  # 405B in BF16
        (spec(8), 410_000_000_000, StageSize("20", "427Gi", "5Gi")),  # 405B in FP8
    ],
    ids=["8B", "70B", "405B 2x8", "405B FP8"],
)
def test_known_models_on_gpus(asked: LlamaDeploymentSpec, size: int, expected: StageSize) -> None:
    assert derived_size(asked, facts(size)) == expected


def test_a_stage_on_cpu_holds_its_weights_and_its_cache() -> None:
    asked = LlamaDeploymentSpec.model_validate(spec_of(dtype="float32", resources={}))
    found = derived_size(asked, facts(16_000_000_000, layers=32))
    loaded = 16_000_000_000  # half of the layers, at twice the bytes
    assert parse_bytes(found.memory) > loaded + 8 * GI
    assert (found.cpu, found.shared_memory) == ("4", "2Gi")
    given_cache = LlamaDeploymentSpec.model_validate(spec_of(engine={"kvCacheMemory": "40Gi"}, resources={}))
    assert parse_bytes(derived_size(given_cache, FACTS).memory) >= 48 * GI


@given(
    tensor=st.integers(1, 64),
    pipeline=st.integers(1, 16),
    size=st.integers(0, 10**13),
    set_=st.sampled_from([{}, {"memory": "4Gi"}, {"sharedMemory": "64Gi"}, {"cpu": "500m"}]),
    on_cpu=st.booleans(),
)
def test_what_is_set_stays_and_shared_memory_fits_into_memory(
    *, tensor: int, pipeline: int, size: int, set_: dict[str, str], on_cpu: bool
) -> None:
    changes: dict[str, Any] = {"resources": set_}
    if on_cpu:
        changes |= {"device": {"resource": "cpu"}, "sharding": {"pipeline": pipeline}}
    asked = spec(tensor, pipeline, **changes)
    found = derived_size(asked, facts(size))
    assert asked.resources.over(found) == found
    assert parse_bytes(found.shared_memory) < parse_bytes(found.memory)
    assert parse_bytes(found.memory) <= 64 * 2**40
    if not set_:
        assert parse_bytes(found.memory) >= size / pipeline
        more = derived_size(asked, facts(size + 10**9))
        assert parse_bytes(more.memory) >= parse_bytes(found.memory)


# -- decided once --------------------------------------------------------------------------------------------------


def taken_by(asked: LlamaDeploymentSpec, found: ModelFacts, known: tuple[DefaultImages, ...] = ()) -> DefaultImages:
    """What the status keeps of the template of this spec."""
    made = with_defaults(asked, stage_defaults(asked, found, taken=known, settings=SETTINGS))
    hashed = template_hash(made, found, serving_image=made.images.serving)
    return taken_defaults(asked, made, template=hashed, known=known)[0]


def size_after(asked: LlamaDeploymentSpec, found: ModelFacts, known: DefaultImages) -> StageSize:
    return stage_defaults(asked, found, taken=(known,), settings=SETTINGS).size


def test_a_derived_size_stays_when_the_weights_change_and_goes_when_the_pods_do() -> None:
    first = taken_by(spec(8), facts(10**11))
    assert (first.cpu, first.memory) == ("20", "139Gi")
    assert size_after(spec(8), facts(2 * 10**11), first) == StageSize(first.cpu, first.memory, first.shared_memory)
    other = size_after(spec(8, contextLength=512), facts(2 * 10**11), first)
    assert other == derived_size(spec(8), facts(2 * 10**11))


def test_an_object_of_before_keeps_its_size_also_when_its_fields_are_taken_out() -> None:
    before = spec(8, resources=vars_of(FORMER_SIZE))
    stored = taken_by(before, facts(10**11))
    assert (stored.cpu, stored.memory, stored.shared_memory) == ("", "", "")
    assert size_after(before, facts(10**11), stored) == FORMER_SIZE
    assert size_after(spec(8), facts(10**11), stored) == FORMER_SIZE, "no group is restarted"


def test_a_derived_size_that_is_spelled_out_later_changes_nothing() -> None:
    first = taken_by(spec(8), facts(10**11))
    spelled = spec(8, resources={"cpu": first.cpu, "memory": first.memory, "sharedMemory": first.shared_memory})
    again = taken_by(spelled, facts(10**11), (first,))
    assert again.template_hash == first.template_hash


def vars_of(size: StageSize) -> dict[str, str]:
    return {"cpu": size.cpu, "memory": size.memory, "sharedMemory": size.shared_memory}

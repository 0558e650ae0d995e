"""An adapter is cut as its base is: every matrix on exactly the stage that has its layer."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llama_serving.weights.adapter.tensor_names import lora_tensor
from llama_serving.weights.staging.decide.expected import expected_at_source
from llama_serving.weights.staging.decide.partition import is_needed, stage_layers
from llama_serving.weights.staging.decide.stage_share import VerifiedHeader, adapter_partition, stage_share
from tests.fakes.adapters import WEIGHTS, adapter, shapes_of

MODULES = ("self_attn.q_proj", "mlp.down_proj")


@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_the_stages_together_have_all_matrices_and_none_twice(layers: int, stages: int, data: st.DataObject) -> None:
    stages = min(stages, layers)
    named = data.draw(st.integers(1, layers))
    seen: Counter[str] = Counter()
    for stage in range(stages):
        partition = adapter_partition(layers, stage=stage, stages=stages)
        mine = [name for name in shapes_of(layers=named, modules=MODULES) if is_needed(name, partition)]
        found = [lora_tensor(name) for name in mine]
        assert all(one and one.layer in stage_layers(partition) for one in found)
        seen.update(mine)
    assert seen == Counter(list(shapes_of(layers=named, modules=MODULES)))


@given(st.integers(0, 7), st.integers(1, 8))
def test_where_the_layers_are_not_known_each_stage_has_all(stage: int, stages: int) -> None:
    partition = adapter_partition(0, stage=min(stage, stages - 1), stages=stages)
    assert all(is_needed(name, partition) for name in shapes_of(layers=3))


def test_a_stage_whose_layers_it_leaves_alone_has_the_file_without_matrices() -> None:
    made = adapter(layers=1)
    header = VerifiedHeader(8, made.manifest().headers[WEIGHTS], {})
    partition = adapter_partition(4, stage=1, stages=2)
    expected = expected_at_source(made.manifest().model_copy(update={"tensors": {WEIGHTS: {}}}), every_file=True)
    share = stage_share(expected, partition, {WEIGHTS: header})
    assert dict(share.tensors) == {WEIGHTS: {}}

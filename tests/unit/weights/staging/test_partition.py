"""Which tensors a stage gets: vLLM's own split, nothing lost, nothing twice but a tied embedding."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.weights.staging.decide.errors import StagingRefused
from llama_serving.weights.staging.decide.partition import LayerPartition, is_needed, stage_layers
from llama_serving.weights.staging.decide.stage_share import layer_partition
from tests.fakes.staging import names_of


# Right-hand sides from vllm.distributed.utils.get_pp_indices of vLLM 0.32.
@pytest.mark.parametrize(
    ("layers", "counts"),
    [
        (32, [32]),
        (32, [16, 16]),
        (32, [8, 8, 8, 8]),
        (30, [7, 8, 8, 7]),
        (31, [8, 8, 8, 7]),
        (5, [1, 1, 2, 1]),
        (80, [27, 27, 26]),
        (126, [15, 16, 16, 16, 16, 16, 16, 15]),
        (7, [4, 3]),
    ],
)
def test_layers_are_split_as_vllm_splits_them(layers: int, counts: list[int]) -> None:
    stages = len(counts)
    ranges = [stage_layers(LayerPartition(layers, stage, stages, tied=False)) for stage in range(stages)]
    assert [len(some) for some in ranges] == counts
    assert [layer for some in ranges for layer in some] == list(range(layers))


@pytest.mark.parametrize(
    ("tensor", "tied", "stages"),
    [
        ("model.embed_tokens.weight", False, {0}),
        ("model.embed_tokens.weight", True, {0, 3}),
        ("model.norm.weight", False, {3}),
        ("lm_head.weight", False, {3}),
        ("lm_head.weight_scale", False, {3}),
        ("model.layers.0.self_attn.q_proj.weight", False, {0}),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", False, {0}),
        ("model.layers.29.mlp.down_proj.weight_scale", False, {3}),
        ("model.layers.15.mlp.down_proj.weight", False, {2}),
        ("model.layers.30.some.extra.weight", False, {0, 1, 2, 3}),
        ("model.rotary_emb.inv_freq", False, {0, 1, 2, 3}),
        ("what_is_this", False, {0, 1, 2, 3}),
        ("model.normalizer.weight", False, {0, 1, 2, 3}),
    ],
)
def test_a_tensor_goes_where_it_is_loaded(tensor: str, tied: bool, stages: set[int]) -> None:
    assert {stage for stage in range(4) if is_needed(tensor, LayerPartition(30, stage, 4, tied=tied))} == stages


@settings(deadline=None)  # a busy machine is no error
@given(layers=st.integers(1, 130), stages=st.integers(1, 16), tied=st.booleans())
def test_every_tensor_is_on_one_stage_and_a_tied_embedding_on_both_ends(layers: int, stages: int, tied: bool) -> None:
    stages = min(stages, layers)
    for name in names_of(layers, tied=tied):
        where = [stage for stage in range(stages) if is_needed(name, LayerPartition(layers, stage, stages, tied=tied))]
        both = tied and "embed" in name and stages > 1
        assert where == [0, stages - 1] if both else len(where) == 1


def test_the_cut_comes_from_the_config() -> None:
    config = {"num_hidden_layers": 16, "tie_word_embeddings": True}
    assert layer_partition(json.dumps(config).encode(), stage=1, stages=2) == LayerPartition(16, 1, 2, tied=True)


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": "16"}, {"num_hidden_layers": 1}, [], None, True])
def test_a_config_without_layers_is_refused(config: Any) -> None:
    with pytest.raises(StagingRefused, match="num_hidden_layers"):
        layer_partition(json.dumps(config).encode(), stage=0, stages=2)


def test_a_config_that_is_no_json_is_refused() -> None:
    with pytest.raises(StagingRefused, match="num_hidden_layers"):
        layer_partition(b"\xff{", stage=0, stages=2)

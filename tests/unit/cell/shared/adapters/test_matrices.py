"""The header of an adapter's file against the shapes of a model, without the engine."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from llama_serving.cell.shared.adapters.matrices import TENSORS, MatricesError, check_matrices

CONFIG = SimpleNamespace(
    hidden_size=256,
    intermediate_size=512,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    num_hidden_layers=4,
)
Q = "base_model.model.model.layers.3.self_attn.q_proj"
DOWN = "base_model.model.model.layers.0.mlp.down_proj"
GOOD = {
    f"{Q}.lora_A.weight": [8, 256],
    f"{Q}.lora_B.weight": [256, 8],
    f"{DOWN}.lora_A.weight": [4, 512],
    f"{DOWN}.lora_B.weight": [256, 4],
}


def written(folder: Path, shapes: dict[str, list[int]]) -> Path:
    header = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    (folder / TENSORS).write_bytes(len(text).to_bytes(8, "little") + text)
    return folder


@pytest.mark.parametrize("shapes", [GOOD, {}])
def test_an_adapter_that_fits_is_accepted_and_a_stage_may_have_none_of_it(
    tmp_path: Path, shapes: dict[str, list[int]]
) -> None:
    check_matrices(written(tmp_path, shapes), CONFIG, most_rank=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{Q}.lora_A.weight": [8, 128]}, "has the shape [8, 128], and this model needs [rank, 256]"),
        ({f"{DOWN}.lora_B.weight": [512, 4]}, "has the shape [512, 4], and this model needs [256, rank]"),
        ({f"{Q}.lora_B.weight": [256, 4]}, "do not belong together"),
        ({f"{Q}.lora_A.weight": [16, 256], f"{Q}.lora_B.weight": [256, 16]}, "takes ranks up to 8"),
        ({"base_model.model.lm_head.lora_A.weight": [8, 256]}, "lm_head.lora_A.weight has no place in this model"),
        ({"base_model.model.model.layers.4.mlp.up_proj.lora_A.weight": [8, 256]}, "has no place in this model"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named_by_tensor_and_shape(
    tmp_path: Path, change: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(MatricesError, match=message.replace("[", r"\[")):
        check_matrices(written(tmp_path, GOOD | change), CONFIG, most_rank=8)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x05" + b"\0" * 7 + b"hello"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TENSORS).write_bytes(content)
    with pytest.raises(MatricesError):
        check_matrices(tmp_path, CONFIG, most_rank=8)

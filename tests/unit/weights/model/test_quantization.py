"""Whatever stands in the description of a quantization, the end is a method or a refusal."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.model import QUANTIZATION_METHODS
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.folder import ModelFolder
from llama_serving.weights.model.quantization import quantization

KEYS = (
    "activation_scheme", "actorder", "bits", "config_groups", "desc_act", "dynamic", "export", "format", "group_size",
    "modules_to_not_convert", "quant_algo", "quant_type", "quantized_layers", "sparsity_config", "sym", "targets",
    "weight_block_size", "weights", "zero_point",
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.sampled_from(["group", "dynamic", "Linear"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
GPTQ = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}
COMPRESSED = {"format": "pack-quantized", "config_groups": {}}


def method_of(folder: Path, found: dict[str, Any]) -> str:
    return quantization(ModelFolder(folder, frozenset()), {"quantization_config": found})


def said_of(folder: Path, found: dict[str, Any]) -> str:
    """The method, or the sentence of the refusal."""
    try:
        return method_of(folder, found)
    except RefusedError as error:
        return str(error)


@given(method=st.sampled_from(QUANTIZATION_METHODS), fields=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_no_description_ends_the_resolver(
    tmp_path_factory: pytest.TempPathFactory, method: str, fields: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for described in (fields, GPTQ | fields, COMPRESSED | fields):
        assert said_of(folder, {**described, "quant_method": method})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"quant_method": "gptq", **GPTQ, "dynamic": ["+:.*"]}, "dynamic"),
        ({"quant_method": "compressed-tensors", **COMPRESSED, "config_groups": {"g": ["Linear"]}}, "g"),
        ({"quant_method": "compressed-tensors", **COMPRESSED, "config_groups": {"g": {"weights": 4}}}, "weights"),
        ({"quant_method": "compressed-tensors", **COMPRESSED, "sparsity_config": "2:4"}, "sparsity_config"),
    ],
)
def test_what_is_no_object_is_named(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=rf"has {says} .* in place of an object; copy the file again"):
        method_of(tmp_path, fields)

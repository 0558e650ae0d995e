"""The files that a stage gets are safetensors files of the tensors that it needs."""

import json
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.weights.model.safetensors import LENGTH, Tensor, header_length, parse_header
from llama_serving.weights.staging.decide.safetensors_layout import ALIGNMENT, compact_layout, index_json


def tensors_of(sizes: list[int]) -> dict[str, Tensor]:
    """Tensors of bytes with a hole of 7 before each, as where others of the file are left out."""
    tensors, end = {}, 0
    for number, size in enumerate(sizes):
        tensors[f"t{number}"] = Tensor("U8", (size,), end + 7, end + 7 + size)
        end += 7 + size
    return tensors


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(st.integers(0, 1000), max_size=20))
def test_the_header_describes_the_file_that_is_written(sizes: list[int]) -> None:
    tensors = tensors_of(sizes)
    compact = compact_layout(tensors)
    length = header_length("f", compact.header[: LENGTH.size], size=compact.size)
    assert length + LENGTH.size == len(compact.header)
    assert len(compact.header) % ALIGNMENT == 0
    parsed = parse_header("f", compact.header[LENGTH.size :], size=compact.size)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in parsed.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()
    }
    assert {name: len(compact.header) + tensor.begin for name, tensor in parsed.items()} == compact.offsets


def test_the_order_of_the_source_stays() -> None:
    tensors = {"b": Tensor("BF16", (2,), 10, 14), "a": Tensor("BF16", (4,), 0, 8)}
    compact = compact_layout(tensors)
    assert compact.offsets["b"] == compact.offsets["a"] + 8
    length = struct.unpack("<Q", compact.header[:8])[0]
    assert list(json.loads(compact.header[8 : 8 + length])) == ["__metadata__", "a", "b"]


def test_the_index_names_what_is_there_and_nothing_else() -> None:
    written = json.loads(index_json({"f": tensors_of([5]), "g": {}}))
    assert written == {"metadata": {"total_size": 5}, "weight_map": {"t0": "f"}}

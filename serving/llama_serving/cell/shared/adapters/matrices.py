"""Do the matrices of an adapter's file fit the model? Asked by each rank before vLLM reads them.

vLLM 0.32 copies a matrix that is too small into a corner of its buffer and says nothing, and leaves out a module that
it did not wrap. The model would answer, as something else.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

TENSORS: Final = "adapter_model.safetensors"
_LONGEST_HEADER: Final = 16 << 20  # bytes
_NAME: Final = re.compile(
    r"base_model\.model\.model\.layers\.(?P<layer>[0-9]+)\.(?:self_attn|mlp)\.(?P<module>[a-z_]+)"
    r"\.lora_(?P<matrix>[AB])\.weight"
)


class MatricesError(ValueError):
    """The file does not fit; the text is a clause that names tensor and shape."""


def check_matrices(folder: Path, config: Any, *, most_rank: int) -> None:
    """Check the shapes in the header of an adapter's file against the model's ``config`` (LlamaConfig).

    Raises:
        MatricesError: a tensor has no place or another shape, or the rank is above ``most_rank``.
        OSError: the file cannot be read.
    """
    widths = module_widths(config)
    ranks: dict[tuple[str, str], dict[str, int]] = {}
    for name, shape in tensor_shapes(folder / TENSORS).items():
        found = _NAME.fullmatch(name)
        if found is None or found["module"] not in widths or int(found["layer"]) >= config.num_hidden_layers:
            raise MatricesError(f"the tensor {name} has no place in this model")
        inputs, outputs = widths[found["module"]]
        is_a = found["matrix"] == "A"
        width = inputs if is_a else outputs
        if len(shape) != 2 or shape[1 if is_a else 0] != width:
            wanted = f"[rank, {width}]" if is_a else f"[{width}, rank]"
            raise MatricesError(f"the tensor {name} has the shape {list(shape)}, and this model needs {wanted}")
        ranks.setdefault((found["layer"], found["module"]), {})[found["matrix"]] = shape[0 if is_a else 1]
    _check_ranks(ranks, most_rank)


def _check_ranks(ranks: Mapping[tuple[str, str], Mapping[str, int]], most: int) -> None:
    for (layer, module), found in ranks.items():
        if set(found) != {"A", "B"} or found["A"] != found["B"]:
            raise MatricesError(f"the two matrices of {module} in layer {layer} do not belong together: ranks {found}")
        if found["A"] > most:
            raise MatricesError(
                f"{module} in layer {layer} has rank {found['A']}, and the engine takes ranks up to {most}"
            )


def module_widths(config: Any) -> dict[str, tuple[int, int]]:
    """Return what goes into each linear module of a layer, and what comes out of it."""
    hidden, inner = int(config.hidden_size), int(config.intermediate_size)
    head = int(getattr(config, "head_dim", None) or hidden // config.num_attention_heads)
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the header of a safetensors file names.

    Raises:
        MatricesError: it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise MatricesError(f"{path.name} says that its header has {length} bytes; at most {_LONGEST_HEADER}")
        text = file.read(length)
    try:
        header = json.loads(text)
        return {name: tuple(about["shape"]) for name, about in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MatricesError(f"{path.name} is no safetensors file") from error

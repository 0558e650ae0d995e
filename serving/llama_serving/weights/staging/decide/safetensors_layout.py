"""A safetensors file that holds some tensors of another one: same dtype, shape and bytes, in the same order.

The format: eight bytes (little endian: the header's length), the header (JSON: tensor -> dtype, shape, offsets from the
header's end), the tensors' bytes without a gap. The header is padded with spaces so that the first tensor begins at a
multiple of ``ALIGNMENT``. Same tensors, same bytes: two pods that write one file write the same.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.weights.model.safetensors import Tensor

ALIGNMENT: Final = 64


@dataclass(frozen=True)
class CompactLayout:
    """The layout of a file: its header, the offset of each tensor, and its size in bytes."""

    header: bytes  # the eight bytes of its length included
    offsets: Mapping[str, int]  # tensor -> first byte in the file
    size: int


def compact_layout(tensors: Mapping[str, Tensor]) -> CompactLayout:
    """Return the layout of a file that holds these tensors of another one."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begins: dict[str, int] = {}
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end, item[0])):
        begins[name], end = end, end + tensor.end - tensor.begin
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begins[name], end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    header = struct.pack("<Q", len(text)) + text
    return CompactLayout(header, {name: len(header) + begin for name, begin in begins.items()}, len(header) + end)


def index_json(files: Mapping[str, Mapping[str, Tensor]]) -> bytes:
    """Return model.safetensors.index.json of these files. vLLM refuses an index that names absent files."""
    total = sum(tensor.end - tensor.begin for tensors in files.values() for tensor in tensors.values())
    names = {tensor: file for file, tensors in files.items() for tensor in tensors}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}
    return json.dumps(content, indent=1).encode() + b"\n"

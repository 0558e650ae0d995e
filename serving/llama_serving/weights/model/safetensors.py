"""The headers of safetensors files, read without the library: which tensors there are, and that all their bytes are.

A file is eight bytes (little endian: the header's length), the header (a JSON object: tensor -> dtype, shape, offsets),
and the tensors' bytes, one after the other without a gap. So the header alone says how long the file must be, and a
copy that was cut off is found without reading the weights.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from llama_serving.common.file_names import has_controls
from llama_serving.weights.model.errors import missing, refused, shown, shown_list, unreadable
from llama_serving.weights.model.folder import Folder, json_object
from llama_serving.weights.model.limits import (
    ALL_WEIGHTS,
    LARGEST_DIMENSION,
    LARGEST_HEADER,
    LONGEST_TENSOR_NAME,
    MOST_DIMENSIONS,
    MOST_TENSORS,
    MOST_WEIGHT_FILES,
)
from llama_serving.weights.model.weight_files import INDEX, weight_files

LENGTH: Final = struct.Struct("<Q")

# Bits of an element; of a dtype that is not here only the offsets are checked.
_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The header of one file."""

    length: int  # of the header in bytes, the eight of its length included: where the tensors begin
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class ModelHeaders:
    """The headers of all files of a model, by file."""

    headers: dict[str, Header]

    @property
    def files(self) -> int:
        """Number of safetensors files."""
        return len(self.headers)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of all files."""
        return {name: tensor for header in self.headers.values() for name, tensor in header.tensors.items()}

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.end - tensor.begin for tensor in self.tensors.values())


def read_headers(folder: Folder) -> ModelHeaders:
    """Read every header. Raises RefusedError when a file is absent, cut off or garbage, or the index says otherwise."""
    index = _read_index(folder) if INDEX in folder.names else None
    names = sorted(set(index.values())) if index is not None else weight_files(folder)
    if len(names) > MOST_WEIGHT_FILES:
        raise refused(f"the weights are in {len(names)} files, and no model has more than {MOST_WEIGHT_FILES}")
    headers: dict[str, Header] = {}
    tensors = 0
    for name in names:
        headers[name] = read_header(folder, name)
        tensors += len(headers[name].tensors)
        if tensors > MOST_TENSORS:
            raise refused(f"the weights have more than {MOST_TENSORS} tensors, and no Llama has as many")
    if index is not None:
        _check_index(index, headers)
    found = ModelHeaders(headers)
    if found.bytes > ALL_WEIGHTS:
        raise refused(f"the weights have {found.bytes} bytes, and at most {ALL_WEIGHTS} are read: no Llama has as many")
    return found


def _read_index(folder: Folder) -> dict[str, str]:
    files = folder.read_json(INDEX).get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        raise unreadable(f"{INDEX} has no weight_map from tensors to files: copy it again")
    elsewhere = sorted({name for name in files.values() if name != Path(name).name})
    if elsewhere:
        raise refused(f"{INDEX} names {shown_list(elsewhere)}, outside of the folder: all files must lie beside it")
    others = sorted({name for name in files.values() if not name.endswith(".safetensors")})
    if others:
        raise refused(f"{INDEX} names {shown_list(others)}; only safetensors files are loaded: take an index of those")
    absent = sorted(set(files.values()) - folder.names)
    if absent:
        raise missing(f"{INDEX} names {len(absent)} files that are not there ({shown_list(absent)}): copy them too")
    return files


def _check_index(index: dict[str, str], headers: dict[str, Header]) -> None:
    absent = sorted(tensor for tensor, file in index.items() if tensor not in headers[file].tensors)
    if absent:
        raise unreadable(
            f"{INDEX} puts {shown_list(absent)} into {shown(index[absent[0]])}, whose header does not name it: "
            "index and files are of different models, copy all of them again"
        )


def read_header(folder: Folder, name: str) -> Header:
    """Read one header. Raises RefusedError when the file is absent, cut off or garbage."""
    with folder.open(name) as file:
        size = folder.size(name)
        length = header_length(name, file.read(LENGTH.size), size=size)
        return Header(LENGTH.size + length, parse_header(name, file.read(length), size=size))


def parse_header(name: str, text: bytes, *, size: int) -> dict[str, Tensor]:
    """Return the tensors of a file of ``size`` bytes by the JSON of its header.

    Raises RefusedError when sizes and offsets do not add up.
    """
    entries = json_object(text, f"the header of {shown(name)}")
    if len(entries) > MOST_TENSORS + 1:
        raise refused(f"{shown(name)} has {len(entries)} tensors, and no Llama has more than {MOST_TENSORS}")
    tensors = {tensor: _tensor(name, tensor, entry) for tensor, entry in entries.items() if tensor != "__metadata__"}
    _check_length(name, tensors, promised=LENGTH.size + len(text), size=size)
    return tensors


def header_length(name: str, start: bytes, *, size: int) -> int:
    """Return the bytes of the JSON that follows the first eight. Raises RefusedError when it cannot be so long."""
    if len(start) < LENGTH.size:
        raise unreadable(f"{shown(name)} has {size} bytes, too few for a safetensors file: copy it again")
    length: int = LENGTH.unpack(start)[0]
    if length > LARGEST_HEADER:
        raise unreadable(
            f"{shown(name)} is no safetensors file: it begins with a header of {length} bytes, and no model's header "
            f"has more than {LARGEST_HEADER}; copy it again"
        )
    if LENGTH.size + length > size:
        raise unreadable(
            f"{shown(name)} is cut off inside its header: it has {size} bytes, the header alone ends at "
            f"{LENGTH.size + length}; copy it again"
        )
    return length


def _tensor(name: str, tensor: str, entry: Any) -> Tensor:
    if len(tensor) > LONGEST_TENSOR_NAME or has_controls(tensor):
        raise refused(
            f"the header of {shown(name)} names a tensor {shown(tensor)}, of {len(tensor)} characters: a name has at "
            f"most {LONGEST_TENSOR_NAME}, and no control characters"
        )
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
            len(shape) <= MOST_DIMENSIONS
            and all(type(size) is int and 0 <= size <= LARGEST_DIMENSION for size in shape)
            and 0 <= begin <= end
        ):
            pass
        case _:
            raise unreadable(f"the header of {shown(name)} describes {shown(tensor)} wrongly; copy the file again")
    bits = _BITS.get(dtype)
    if bits is not None and prod(shape) * bits != (end - begin) * 8:
        raise unreadable(
            f"the header of {shown(name)} gives {shown(tensor)} ({shown(dtype)} {shown(shape)}) {end - begin} bytes "
            f"instead of {prod(shape) * bits // 8}; copy the file again"
        )
    return Tensor(dtype, tuple(shape), begin, end)


def _check_length(name: str, tensors: dict[str, Tensor], *, promised: int, size: int) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda item: (item.begin, item.end)):
        if tensor.begin != end:
            raise unreadable(f"the tensors in {shown(name)} overlap or leave a gap at byte {end}; copy the file again")
        end = tensor.end
    if promised + end != size:
        state = "is cut off" if promised + end > size else "is too long"
        raise unreadable(f"{shown(name)} {state}: it has {size} bytes instead of {promised + end}; copy it again")

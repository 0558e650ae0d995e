"""A model's folder as it is fetched from a source: small files whole, of the weights only the headers."""

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any, BinaryIO, Final

from llama_serving.common.concurrency import together
from llama_serving.weights.model.errors import missing, refused, shown
from llama_serving.weights.model.folder import Folder, refuse_pointer
from llama_serving.weights.model.safetensors import INDEX, LENGTH
from llama_serving.weights.resolve.license import README, TEXTS
from llama_serving.weights.source.interface import Listed, Source
from llama_serving.weights.source.retry import Patience, read_patiently

WEIGHTS: Final = ".safetensors"
_SMALL: Final = (".json", ".jinja")
_TOKENIZER: Final = "tokenizer.model"
_TOLD: Final = (README, *TEXTS)  # looked at, not served
_SMALL_LIMIT: Final = 64 << 20  # bytes; tokenizer.json of Llama 3 has 17 MB
_TOLD_LIMIT: Final = 256 << 10  # bytes; what counts stands at the beginning
# Brings the whole header of the usual shard of 5 GB in one request, and costs little where the header is shorter.
_FIRST_READ: Final = 32 << 10
_HEADER_LIMIT: Final = 16 << 20  # bytes; the inspector refuses what is longer
_AT_ONCE: Final = 4


class FetchedFolder(Folder):
    """What a source listed, and what was fetched of it."""

    def __init__(self, place: str, listed: Sequence[Listed]) -> None:
        self._place = place
        self.listed = {file.path: file for file in listed}
        self.names = frozenset(self.listed)
        self.contents: dict[str, bytes] = {}

    @property
    def place(self) -> str:
        """The source's URI."""
        return self._place

    def open(self, name: str) -> BinaryIO:
        """What was fetched of the file, as ``Folder.open`` says."""
        if name not in self.contents:
            raise missing(f"{shown(name)} is not in {shown(self._place)}: copy the whole model")
        refuse_pointer(name, self.contents[name])
        return BytesIO(self.contents[name])

    def size(self, name: str) -> int:
        """Bytes of the whole file, as listed."""
        return self.listed[name].size

    @property
    def small(self) -> list[str]:
        """Files other than weights that are served, sorted."""
        return sorted(name for name in self.names if name.endswith(_SMALL) or name == _TOKENIZER)

    @property
    def told(self) -> dict[str, bytes]:
        """The files in which a license may be named."""
        return {name: text for name, text in self.contents.items() if name in _TOLD or name.endswith(".json")}


async def fetch(source: Source, listed: Sequence[Listed], *, place: str, patience: Patience) -> FetchedFolder:
    """The folder with its small files and headers. Raises SourceError's kinds, and RefusedError for one too large."""
    folder = FetchedFolder(place, listed)
    for name in folder.small:
        if folder.size(name) > _SMALL_LIMIT:
            raise refused(f"{shown(name)} is larger than {_SMALL_LIMIT >> 20} MiB, which no such file is")

    async def bring(name: str, *, begin: int = 0, end: int) -> None:
        pieces = read_patiently(source, name, begin=begin, end=min(end, folder.size(name)), patience=patience)
        folder.contents[name] = folder.contents.get(name, b"") + b"".join([piece async for piece in pieces])

    async def bring_small(name: str) -> None:
        await bring(name, end=_SMALL_LIMIT if name in folder.small else _TOLD_LIMIT)

    async def bring_head(name: str) -> None:
        await bring(name, end=_FIRST_READ)
        end = LENGTH.size + _length(folder.contents[name])
        if _FIRST_READ < end <= _HEADER_LIMIT:
            await bring(name, begin=_FIRST_READ, end=end)

    told = [name for name in _TOLD if name in folder.names]
    await together(bring_small, [*folder.small, *told], most=_AT_ONCE)
    await together(bring_head, _weights(folder), most=_AT_ONCE)
    return folder


def _length(head: bytes) -> int:
    return int(LENGTH.unpack_from(head)[0]) if len(head) >= LENGTH.size else 0


def _weights(folder: FetchedFolder) -> list[str]:
    """Files that hold weights: those of the index where there is one. What is wrong with it, the inspector says."""
    files = folder.ending(WEIGHTS)
    try:
        index: Any = json.loads(folder.contents.get(INDEX, b"{}"))
        named = set(index["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return files
    return [name for name in files if name in named]

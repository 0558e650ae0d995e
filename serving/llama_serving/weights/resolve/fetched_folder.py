"""A model's folder as it is fetched from a source: small files whole, of the weights only the headers."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Final

from llama_serving.common.concurrency import map_concurrently
from llama_serving.weights.adapter.inspection import ADDED_TOKENS, TOKENIZER_CONFIG
from llama_serving.weights.adapter.inspection import WEIGHTS as ADAPTER_WEIGHTS
from llama_serving.weights.model.errors import RefusedError, missing, refused, shown
from llama_serving.weights.model.folder import CONFIG, Folder, check_file_names, json_object, refuse_pointer
from llama_serving.weights.model.limits import (
    ALL_HEADERS,
    ALL_SMALL_FILES,
    LARGEST_HEADER,
    LARGEST_SMALL_FILE,
    MOST_WEIGHT_FILES,
)
from llama_serving.weights.model.safetensors import LENGTH
from llama_serving.weights.model.weight_files import ADAPTER_CONFIG, INDEX, is_of_other_set, weight_files
from llama_serving.weights.resolve.license import README, TEXTS
from llama_serving.weights.source.interface import ListedFile, Source
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries

WEIGHTS: Final = ".safetensors"
_SMALL: Final = (".json", ".jinja")
_TOKENIZER: Final = "tokenizer.model"
_LICENSE_FILES: Final = (README, *TEXTS)  # read, not served
_TEXT_LIMIT: Final = 256 << 10  # bytes; licenses are named at the beginning
# Brings the whole header of the usual shard of 5 GB in one request, and costs little where the header is shorter.
_FIRST_READ: Final = 32 << 10
_FILES_AT_ONCE: Final = 4


class FetchedFolder(Folder):
    """What a source listed, and what was fetched of it."""

    def __init__(self, location: str, listed: Sequence[ListedFile]) -> None:
        self._location = location
        self.listed = {file.path: file for file in listed}
        self.names = frozenset(self.listed)
        self.contents: dict[str, bytes] = {}

    @property
    def location(self) -> str:
        """The source's URI."""
        return self._location

    def open(self, name: str) -> BinaryIO:
        """Return what was fetched of the file, as ``Folder.open`` says."""
        if name not in self.contents:
            raise missing(f"{shown(name)} is not in {shown(self._location)}: copy the whole model")
        refuse_pointer(name, self.contents[name])
        return BytesIO(self.contents[name])

    def size(self, name: str) -> int:
        """Return the bytes of the whole file, as listed."""
        return self.listed[name].size

    @property
    def small(self) -> list[str]:
        """Files other than weights that are served, sorted."""
        small = [name for name in self.names if name.endswith(_SMALL) or name == _TOKENIZER]
        return sorted(name for name in small if not is_of_other_set(name))

    @property
    def texts(self) -> list[str]:
        """Files that are read and not served."""
        return [name for name in (*_LICENSE_FILES, ADAPTER_CONFIG) if name in self.names]

    @property
    def weights(self) -> list[str]:
        """Files of which only the header is read."""
        return _weights(self)

    @property
    def license_files(self) -> dict[str, bytes]:
        """The files in which a license may be named."""
        return {name: text for name, text in self.contents.items() if name in (*_LICENSE_FILES, CONFIG)}


class FetchedAdapter(FetchedFolder):
    """A LoRA adapter: two files are served, whatever training left beside them."""

    @property
    def small(self) -> list[str]:
        """The one small file that is served."""
        return [name for name in (ADAPTER_CONFIG,) if name in self.names]

    @property
    def texts(self) -> list[str]:
        """Files that are read and not served: licenses, and which tokens training knew."""
        return [name for name in (*_LICENSE_FILES, ADDED_TOKENS, TOKENIZER_CONFIG) if name in self.names]

    @property
    def weights(self) -> list[str]:
        """The file of the matrices."""
        return [name for name in (ADAPTER_WEIGHTS,) if name in self.names]


async def fetch(folder: FetchedFolder, source: Source, *, retry: RetryPolicy) -> None:
    """Fetch small files and headers. Raises SourceError's kinds, and RefusedError for more than a model has."""
    _check_sizes(folder)
    left = ALL_HEADERS

    async def read(name: str, *, begin: int = 0, end: int) -> None:
        pieces = read_with_retries(source, name, begin=begin, end=min(end, folder.size(name)), retry=retry)
        folder.contents[name] = folder.contents.get(name, b"") + b"".join([piece async for piece in pieces])

    async def read_small(name: str) -> None:
        await read(name, end=LARGEST_SMALL_FILE if name in small else _TEXT_LIMIT)

    async def read_header(name: str) -> None:
        nonlocal left
        await read(name, end=_FIRST_READ)
        end = LENGTH.size + _length(folder.contents[name])
        if end > LARGEST_HEADER:
            return  # the inspection refuses it
        left -= max(end, _FIRST_READ)
        if left < 0:
            raise refused(f"the headers of the weights have more than {ALL_HEADERS >> 20} MiB, those of no model do")
        if end > _FIRST_READ:
            await read(name, begin=_FIRST_READ, end=end)

    small = frozenset(folder.small)
    await map_concurrently(read_small, [*sorted(small), *folder.texts], limit=_FILES_AT_ONCE)
    weights = folder.weights
    if len(weights) > MOST_WEIGHT_FILES:
        raise refused(f"the weights are in {len(weights)} files, and no model has more than {MOST_WEIGHT_FILES}")
    await map_concurrently(read_header, weights, limit=_FILES_AT_ONCE)


def _check_sizes(folder: FetchedFolder) -> None:
    check_file_names(folder.names, location=folder.location)
    sizes = {name: folder.size(name) for name in folder.small}
    for name, size in sizes.items():
        if size > LARGEST_SMALL_FILE:
            raise refused(f"{shown(name)} is larger than {LARGEST_SMALL_FILE >> 20} MiB, which no such file is")
    if sum(sizes.values()) > ALL_SMALL_FILES:
        raise refused(
            f"{len(sizes)} small files have {sum(sizes.values())} bytes together, and those of no model have more than "
            f"{ALL_SMALL_FILES}: take out what the engine does not read"
        )


def _length(head: bytes) -> int:
    return int(LENGTH.unpack_from(head)[0]) if len(head) >= LENGTH.size else 0


def _weights(folder: FetchedFolder) -> list[str]:
    """Return the files that hold weights: those of the index where there is one. The inspection checks the index."""
    if INDEX not in folder.names:
        with suppress(RefusedError):  # the inspection says it, after what else is wrong
            return weight_files(folder)
        return []
    files = folder.ending(WEIGHTS)
    with suppress(RefusedError):  # likewise
        named = json_object(folder.contents[INDEX], INDEX).get("weight_map")
        if isinstance(named, dict):
            wanted = {name for name in named.values() if isinstance(name, str)}
            return [name for name in files if name in wanted]
    return files

"""Looks at a place before anything is brought: are the files those of the manifest, and what is in them for us?"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from llama_serving.config.weights import ManifestFile
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.safetensors import LENGTH, header_length, parse_header
from llama_serving.weights.source.interface import Gone
from llama_serving.weights.staging.decide.errors import differs, unreadable
from llama_serving.weights.staging.decide.expected import CONFIG, Expected
from llama_serving.weights.staging.decide.stage_share import Head, Share, complaint, cut_of, files_of, share_of
from llama_serving.weights.staging.io.concurrency import each
from llama_serving.weights.staging.io.source_reader import Reader

# One request brings most headers: those of the usual 5 GB shards have 10 to 30 kB.
_FIRST_READ: Final = 16 << 10
_LARGEST_CONFIG: Final = 16 << 20


async def check_sizes(reader: Reader, expected: Expected) -> None:
    """Raises Gone when a file is absent, Refused when one is shorter or longer than the manifest says."""
    sizes = {listed.path: listed.size for listed in await reader.list()}
    wanted = dict(expected.sizes) | {file.path: file.size for file in expected.small}
    absent = sorted(set(wanted) - set(sizes))
    if absent:
        raise Gone(f"{absent[0]} is in the manifest and not at the source ({len(absent)} of {len(wanted)} are absent)")
    for path, size in wanted.items():
        if sizes[path] != size:
            state = "is cut off" if sizes[path] < size else "has grown"
            raise differs(f"{path} {state}: it has {sizes[path]} bytes, the manifest says {size}")


async def survey(reader: Reader, expected: Expected, *, stage: int, stages: int) -> Share:
    """The share of one stage. Raises Refused when config.json, the index or a header is not as it must be."""
    config = next((file for file in expected.small if file.path == CONFIG), None)
    if config is None:
        raise unreadable(f"the manifest has no {CONFIG}")
    cut = cut_of(await _small(reader, config), stage=stage, stages=stages)
    asked = expected.index is not None and not expected.tensors
    index = await _small(reader, expected.index) if asked and expected.index else None
    files = files_of(expected, cut, index=index)
    heads = await _heads(reader, expected, files)
    return share_of(expected, cut, heads)


async def _small(reader: Reader, file: ManifestFile) -> bytes:
    """A JSON file, verified. A damaged transfer is tried once more."""
    if file.size > _LARGEST_CONFIG:
        raise unreadable(f"{file.path} has {file.size} bytes, which no such file has")
    for _ in range(2):
        data = await reader.bytes(file.path, begin=0, end=file.size)
        digest = hashlib.sha256(data).hexdigest()
        if digest == file.sha256:
            return data
    raise differs(f"{file.path} has sha256 {digest}, the manifest says {file.sha256}")


async def _heads(reader: Reader, expected: Expected, files: Iterable[str]) -> dict[str, Head]:
    heads: dict[str, Head] = {}

    async def look(file: str) -> None:
        heads[file] = await _head(reader, expected, file)

    await each(sorted(files), look)
    return heads


async def _head(reader: Reader, expected: Expected, file: str) -> Head:
    """A header; one that came damaged is read once more."""
    size = expected.sizes[file]
    with suppress(RefusedError):
        head = await _read_head(reader, file, size=size)
        if not complaint(expected, file, head):
            return head
    try:
        return await _read_head(reader, file, size=size)
    except RefusedError as error:
        raise differs(error.message) from error


async def _read_head(reader: Reader, file: str, *, size: int) -> Head:
    start = await reader.bytes(file, begin=0, end=min(_FIRST_READ, size))
    end = LENGTH.size + header_length(file, start[: LENGTH.size], size=size)
    if end > len(start):
        start += await reader.bytes(file, begin=len(start), end=end)
    header = start[:end]
    tensors = parse_header(file, header[LENGTH.size :], size=size)
    return Head(end, hashlib.sha256(header).hexdigest(), tensors)

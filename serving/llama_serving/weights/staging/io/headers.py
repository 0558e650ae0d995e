"""Reads the headers of a folder before its tensors: are the files those of the manifest, which tensors are ours?"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from llama_serving.common.concurrency import map_concurrently
from llama_serving.config.weights import ManifestFile
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.safetensors import LENGTH, header_length, parse_header
from llama_serving.weights.source.interface import Gone
from llama_serving.weights.staging.decide.errors import digest_differs, weights_unreadable
from llama_serving.weights.staging.decide.expected import CONFIG, ExpectedFiles
from llama_serving.weights.staging.decide.partition import LayerPartition
from llama_serving.weights.staging.decide.stage_share import (
    StageShare,
    VerifiedHeader,
    adapter_partition,
    candidate_files,
    header_mismatch,
    layer_partition,
    stage_share,
)
from llama_serving.weights.staging.dependencies import STREAMS, StagePod
from llama_serving.weights.staging.io.source_reader import SourceReader

# One request brings most headers: those of the usual 5 GB shards have 10 to 30 kB.
_FIRST_READ: Final = 16 << 10
_LARGEST_CONFIG: Final = 16 << 20


async def check_sizes(reader: SourceReader, expected: ExpectedFiles) -> None:
    """Compare names and sizes with the manifest. Raises Gone for an absent file, StagingRefused for another size."""
    sizes = {listed.path: listed.size for listed in await reader.list()}
    wanted = dict(expected.sizes) | {file.path: file.size for file in expected.small}
    absent = sorted(set(wanted) - set(sizes))
    if absent:
        raise Gone(f"{absent[0]} is in the manifest and not at the source ({len(absent)} of {len(wanted)} are absent)")
    for path, size in wanted.items():
        if sizes[path] != size:
            state = "is cut off" if sizes[path] < size else "has grown"
            raise digest_differs(f"{path} {state}: it has {sizes[path]} bytes, the manifest says {size}")


async def read_stage_share(
    reader: SourceReader, expected: ExpectedFiles, *, pod: StagePod, layers: int | None = None
) -> StageShare:
    """Return the share of one stage. Raises StagingRefused when config.json, the index or a header is wrong.

    ``layers``: of the model that an adapter is for; None: the folder's config.json says how many.
    """
    if layers is None:
        partition = await _read_partition(reader, expected, pod)
    else:
        partition = adapter_partition(layers, stage=pod.stage, stages=pod.stages)
    asked = expected.index is not None and not expected.tensors
    index = await _read_small_file(reader, expected.index) if asked and expected.index else None
    files = candidate_files(expected, partition, index=index)
    headers = await _read_headers(reader, expected, files)
    return stage_share(expected, partition, headers)


async def _read_partition(reader: SourceReader, expected: ExpectedFiles, pod: StagePod) -> LayerPartition:
    config = next((file for file in expected.small if file.path == CONFIG), None)
    if config is None:
        raise weights_unreadable(f"the manifest has no {CONFIG}")
    return layer_partition(await _read_small_file(reader, config), stage=pod.stage, stages=pod.stages)


async def _read_small_file(reader: SourceReader, file: ManifestFile) -> bytes:
    """Return a JSON file, verified. A damaged transfer is tried once more."""
    if file.size > _LARGEST_CONFIG:
        raise weights_unreadable(f"{file.path} has {file.size} bytes, which no such file has")
    for _ in range(2):
        data = await reader.bytes(file.path, begin=0, end=file.size)
        digest = hashlib.sha256(data).hexdigest()
        if digest == file.sha256:
            return data
    raise digest_differs(f"{file.path} has sha256 {digest}, the manifest says {file.sha256}")


async def _read_headers(
    reader: SourceReader, expected: ExpectedFiles, files: Iterable[str]
) -> dict[str, VerifiedHeader]:
    async def read(file: str) -> tuple[str, VerifiedHeader]:
        return file, await _read_verified_header(reader, expected, file)

    return dict(await map_concurrently(read, sorted(files), limit=STREAMS))


async def _read_verified_header(reader: SourceReader, expected: ExpectedFiles, file: str) -> VerifiedHeader:
    """Return a header; one that came damaged is read once more."""
    size = expected.sizes[file]
    with suppress(RefusedError):
        header = await _read_header(reader, file, size=size)
        if not header_mismatch(expected, file, header):
            return header
    try:
        return await _read_header(reader, file, size=size)
    except RefusedError as error:
        raise digest_differs(error.message) from error


async def _read_header(reader: SourceReader, file: str, *, size: int) -> VerifiedHeader:
    start = await reader.bytes(file, begin=0, end=min(_FIRST_READ, size))
    end = LENGTH.size + header_length(file, start[: LENGTH.size], size=size)
    if end > len(start):
        start += await reader.bytes(file, begin=len(start), end=end)
    header = start[:end]
    tensors = parse_header(file, header[LENGTH.size :], size=size)
    return VerifiedHeader(end, hashlib.sha256(header).hexdigest(), tensors)

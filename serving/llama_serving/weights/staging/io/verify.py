"""Verifies the weights in a folder: are they, as far as this stage needs them, those of the manifest?"""

from collections.abc import Hashable
from pathlib import Path

from pydantic import ValidationError

from llama_serving.common.message_file import read_bounded
from llama_serving.config.error_text import error_text
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.weight_files import INDEX
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.staging.decide.artifact import Artifact, is_adapter, layers_of
from llama_serving.weights.staging.decide.errors import digest_differs, weights_unreadable
from llama_serving.weights.staging.decide.expected import (
    RECORD,
    ExpectedFiles,
    StagedRecord,
    check_record,
    expected_at_source,
    expected_in_folder,
)
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.safetensors_layout import index_json
from llama_serving.weights.staging.decide.stage_share import StageShare
from llama_serving.weights.staging.dependencies import StagePod, StagerDependencies
from llama_serving.weights.staging.io.fetch import DiscardSink, Fetcher
from llama_serving.weights.staging.io.headers import check_sizes, read_stage_share
from llama_serving.weights.staging.io.source_reader import SourceReader


async def verify_mounted(
    folder: Path, manifest: Manifest, *, pod: StagePod, deps: StagerDependencies, progress: StagingProgress
) -> None:
    """Verify a folder of the source itself. Raises StagingRefused, and what a source raises."""
    await _verify(folder, expected_at_source(manifest), pod=pod, deps=deps, progress=progress)


async def verify_staged(
    folder: Path, artifact: Artifact, *, pod: StagePod, deps: StagerDependencies, progress: StagingProgress
) -> None:
    """Verify a folder that a stager made. Raises StagingRefused, and what a source raises."""
    manifest = artifact.manifest
    try:
        record = StagedRecord.model_validate_json(read_bounded(folder / RECORD))
    except (ValidationError, OSError) as error:
        raise weights_unreadable(f"{folder / RECORD} cannot be read: {error_text(error)}") from error
    expected = expected_in_folder(manifest, record, stage=pod.stage, stages=pod.stages)
    share = await _verify(folder, expected, pod=pod, deps=deps, progress=progress, layers=layers_of(artifact))
    check_record(record, manifest, share.partition)
    if not is_adapter(artifact) and read_bounded(folder / INDEX) != index_json(share.tensors):
        raise digest_differs(f"{folder / INDEX} names other tensors than the files beside it")


async def _verify(
    folder: Path,
    expected: ExpectedFiles,
    *,
    pod: StagePod,
    deps: StagerDependencies,
    progress: StagingProgress,
    layers: int | None = None,
) -> StageShare:
    source = LocalSource(folder, revision="")
    progress.begin("verifying")
    reader = SourceReader(source, progress=progress, retry=deps.retry)
    await check_sizes(reader, expected)
    share = await read_stage_share(reader, expected, pod=pod, layers=layers)
    progress.begin("verifying", total=share.needed_bytes, under_way=True)
    await Fetcher(reader, DiscardSink(), progress=progress, pool=deps.pool).run(
        share.read_requests(frozenset(), ranged=True)
    )
    return share


def fingerprint(folder: Path) -> Hashable:
    """Return a value that changes when a file is added, removed, written or exchanged; None without a folder.

    Blocks. Raises OSError when the volume does not answer.
    """
    try:
        return frozenset((path.name, *_identity(path)) for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:  # a link to nothing
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ino

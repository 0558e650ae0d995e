"""Weights that lie in a folder already: are they, as far as this stage needs them, those of the manifest?"""

from collections.abc import Hashable
from pathlib import Path

from pydantic import ValidationError

from llama_serving.config.error_text import error_text
from llama_serving.config.weights import Manifest
from llama_serving.weights.model.safetensors import INDEX
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.staging.decide.errors import differs, unreadable
from llama_serving.weights.staging.decide.expected import RECORD, Expected, Record, at_source, check_record, in_folder
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.decide.safetensors_layout import index
from llama_serving.weights.staging.decide.stage_share import Share
from llama_serving.weights.staging.io.fetch import Fetch, Nowhere
from llama_serving.weights.staging.io.headers import check_sizes, survey
from llama_serving.weights.staging.io.source_reader import Reader
from llama_serving.weights.staging.ports import Site, Tools


async def verify_mounted(folder: Path, manifest: Manifest, *, site: Site, tools: Tools, gauge: Gauge) -> None:
    """A folder of the source itself. Raises Refused, and what a source raises."""
    await _verify(folder, at_source(manifest), site=site, tools=tools, gauge=gauge)


async def verify_staged(folder: Path, manifest: Manifest, *, site: Site, tools: Tools, gauge: Gauge) -> None:
    """A folder that a stager made. Raises Refused, and what a source raises."""
    try:
        record = Record.model_validate_json((folder / RECORD).read_bytes())
    except (ValidationError, OSError) as error:
        raise unreadable(f"{folder / RECORD} cannot be read: {error_text(error)}") from error
    expected = in_folder(manifest, record, stage=site.stage, stages=site.stages)
    share = await _verify(folder, expected, site=site, tools=tools, gauge=gauge)
    check_record(record, manifest, share.cut)
    if (folder / INDEX).read_bytes() != index(share.tensors):
        raise differs(f"{folder / INDEX} names other tensors than the files beside it")


async def _verify(folder: Path, expected: Expected, *, site: Site, tools: Tools, gauge: Gauge) -> Share:
    source = LocalSource(folder, revision="")
    gauge.begin("verifying")
    reader = Reader(source, gauge=gauge, patience=tools.patience)
    await check_sizes(reader, expected)
    share = await survey(reader, expected, stage=site.stage, stages=site.stages)
    gauge.begin("verifying", total=share.needed, under_way=True)
    await Fetch(reader, Nowhere(), gauge=gauge, pool=tools.pool).run(share.reads(frozenset(), ranged=True))
    return share


def fingerprint(folder: Path) -> Hashable:
    """Blocks. Differs when a file was added, removed, written or exchanged; None where there is no folder.

    Raises OSError when the volume does not answer.
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

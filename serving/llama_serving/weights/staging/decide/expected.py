"""Which files a folder must hold, by digest: the manifest says it for the source, the record for a staged folder.

The record of a staged folder names the tensors that were downloaded and their sha256. It is trusted only where it
agrees with the manifest; where the manifest has no digests of tensors (the source was only listed) it is the only
record of them, written after the whole files had been verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from llama_serving.config.cell import Frozen
from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.model.weight_files import INDEX
from llama_serving.weights.staging.decide.errors import digest_differs
from llama_serving.weights.staging.decide.partition import LayerPartition, is_needed

#: The record in a staged folder. The engine does not look at it.
RECORD: Final = "staged.json"
CONFIG: Final = "config.json"
_SAFETENSORS: Final = ".safetensors"

Tensors = Mapping[str, Mapping[str, str]]  # file -> tensor -> sha256


class StagedRecord(Frozen):
    """The content of a staged folder, written by its stager."""

    digest: str = Field(description="of the manifest")
    stage: int
    stages: int
    sizes: dict[str, int] = Field(description="safetensors file -> bytes, as written here")
    tensors: dict[str, dict[str, str]] = Field(description="safetensors file -> tensor -> sha256")


@dataclass(frozen=True)
class ExpectedFiles:
    """The files of one folder."""

    small: tuple[ManifestFile, ...]  # wanted whole
    sizes: Mapping[str, int]  # safetensors file -> bytes
    tensors: Tensors  # empty: only whole files are known
    headers: Mapping[str, str]  # safetensors file -> sha256 of its header, where known
    whole: Mapping[str, str]  # safetensors file -> sha256, where its tensors are not known
    index: ManifestFile | None = None  # says which tensor is in which file
    every_file: bool = False  # a file is wanted also where it holds none of the stage's tensors


def expected_at_source(manifest: Manifest, *, every_file: bool = False) -> ExpectedFiles:
    """Return the files that the manifest names. Raises StagingRefused when it is no flat folder.

    ``every_file``: an engine wants the file of an adapter also on a stage whose layers it leaves alone.
    """
    outside = [file.path for file in manifest.files if file.path in {".", ".."} or "/" in file.path]
    if outside:
        raise digest_differs(f"the manifest names {outside[0]}, which does not lie directly in the model's folder")
    big = {file.path: file for file in manifest.files if file.path.endswith(_SAFETENSORS)}
    # All or nothing: a file whose tensors are not known must not be overlooked.
    known = {file: manifest.tensors[file] for file in big} if big.keys() <= manifest.tensors.keys() else {}
    return ExpectedFiles(
        small=tuple(file for file in manifest.files if file.path not in big and file.path not in {INDEX, RECORD}),
        sizes={path: file.size for path, file in big.items()},
        tensors=known,
        headers=manifest.headers,
        whole={} if known else {path: file.sha256 for path, file in big.items()},
        index=next((file for file in manifest.files if file.path == INDEX), None),
        every_file=every_file,
    )


def expected_in_folder(manifest: Manifest, record: StagedRecord, *, stage: int, stages: int) -> ExpectedFiles:
    """Return the files that the record names. Raises StagingRefused for other weights or another stage."""
    if (record.digest, record.stage, record.stages) != (manifest.digest, stage, stages):
        raise digest_differs(
            f"{RECORD} is of stage {record.stage} of {record.stages} of {record.digest}, "
            f"wanted is stage {stage} of {stages} of {manifest.digest}"
        )
    source = expected_at_source(manifest)
    return ExpectedFiles(source.small, record.sizes, record.tensors, headers={}, whole={}, every_file=True)


def check_record(record: StagedRecord, manifest: Manifest, partition: LayerPartition) -> None:
    """Check the record against the manifest. Raises StagingRefused when it names other tensors of this stage."""
    known = stage_tensors(expected_at_source(manifest).tensors, partition)
    if known and known != {file: dict(tensors) for file, tensors in record.tensors.items() if tensors}:
        raise digest_differs(f"{RECORD} names other tensors or digests than the manifest")


def stage_tensors(tensors: Tensors, partition: LayerPartition) -> dict[str, dict[str, str]]:
    """Return the tensors that the stage needs, without files that hold none of them."""
    mine = {
        file: {name: digest for name, digest in names.items() if is_needed(name, partition)}
        for file, names in tensors.items()
    }
    return {file: names for file, names in mine.items() if names}

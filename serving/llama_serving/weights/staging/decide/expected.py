"""What must lie at a place, by digest: at the source what the manifest says, in a staged folder what its record says.

The record of a staged folder names the tensors that were brought and their sha256. It is believed only where it agrees
with the manifest; where the manifest has no digests of tensors (the source was only listed) it is the only witness,
written after the whole files had been verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from llama_serving.config.cell import Frozen
from llama_serving.config.weights import Manifest, ManifestFile
from llama_serving.weights.model.safetensors import INDEX
from llama_serving.weights.staging.decide.errors import differs
from llama_serving.weights.staging.decide.partition import Cut, needs

#: The record in a staged folder. The engine does not look at it.
RECORD: Final = "staged.json"
CONFIG: Final = "config.json"
_SAFETENSORS: Final = ".safetensors"

Tensors = Mapping[str, Mapping[str, str]]  # file -> tensor -> sha256


class Record(Frozen):
    """What a staged folder holds."""

    digest: str = Field(description="of the manifest")
    stage: int
    stages: int
    sizes: dict[str, int] = Field(description="safetensors file -> bytes, as written here")
    tensors: dict[str, dict[str, str]] = Field(description="safetensors file -> tensor -> sha256")


@dataclass(frozen=True)
class Expected:
    """Files of one place."""

    small: tuple[ManifestFile, ...]  # wanted whole
    sizes: Mapping[str, int]  # safetensors file -> bytes
    tensors: Tensors  # empty: only whole files are known
    headers: Mapping[str, str]  # safetensors file -> sha256 of its header, where known
    whole: Mapping[str, str]  # safetensors file -> sha256, where its tensors are not known
    index: ManifestFile | None = None  # says which tensor is in which file


def at_source(manifest: Manifest) -> Expected:
    """What the manifest says. Raises Refused when it is no flat folder of safetensors."""
    outside = [file.path for file in manifest.files if file.path in {".", ".."} or "/" in file.path]
    if outside:
        raise differs(f"the manifest names {outside[0]}, which does not lie directly in the model's folder")
    big = {file.path: file for file in manifest.files if file.path.endswith(_SAFETENSORS)}
    # All or nothing: a file whose tensors are not known must not be overlooked.
    known = {file: manifest.tensors[file] for file in big} if big.keys() <= manifest.tensors.keys() else {}
    return Expected(
        small=tuple(file for file in manifest.files if file.path not in big and file.path not in {INDEX, RECORD}),
        sizes={path: file.size for path, file in big.items()},
        tensors=known,
        headers=manifest.headers,
        whole={} if known else {path: file.sha256 for path, file in big.items()},
        index=next((file for file in manifest.files if file.path == INDEX), None),
    )


def in_folder(manifest: Manifest, record: Record, *, stage: int, stages: int) -> Expected:
    """What the record says. Raises Refused when it is of other weights or of another stage."""
    if (record.digest, record.stage, record.stages) != (manifest.digest, stage, stages):
        raise differs(
            f"{RECORD} is of stage {record.stage} of {record.stages} of {record.digest}, "
            f"wanted is stage {stage} of {stages} of {manifest.digest}"
        )
    source = at_source(manifest)
    return Expected(source.small, record.sizes, record.tensors, headers={}, whole={})


def check_record(record: Record, manifest: Manifest, cut: Cut) -> None:
    """Raises Refused when the manifest knows the tensors of this stage and the record has others."""
    known = of_stage(at_source(manifest).tensors, cut)
    if known and known != {file: dict(tensors) for file, tensors in record.tensors.items()}:
        raise differs(f"{RECORD} names other tensors or digests than the manifest")


def of_stage(tensors: Tensors, cut: Cut) -> dict[str, dict[str, str]]:
    """Those that the stage needs, without files that hold none of them."""
    mine = {
        file: {name: digest for name, digest in names.items() if needs(name, cut)} for file, names in tensors.items()
    }
    return {file: names for file, names in mine.items() if names}

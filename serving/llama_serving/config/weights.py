"""What weights consist of: every file with its size and sha256, and where known the sha256 of every tensor.

The manifest's digest names the weights. It is the sha256 of the lines ``<sha256>  <size>  <path>`` (a newline after
each), sorted by path, so that anybody can compute it with standard tools. A path has no control character and no line's
end, so each line says one thing, and no two lists of files have the same lines. Tensors are not part of it: their
digests follow from the files' bytes.
"""

import hashlib
from typing import Final

from pydantic import Field

from llama_serving.config.cell import Frozen

#: Bytes of a manifest as JSON: it goes into the ConfigMap of each group beside its config, and one holds 1 MiB.
MANIFEST_LIMIT: Final = 960_000


class ManifestFile(Frozen):
    """One file of the model's folder."""

    path: str = Field(
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$",
        description="name in the folder; no sub-folders, in one line",
    )
    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of all bytes, hexadecimal")


class Manifest(Frozen):
    """The files that are served: config, tokenizer, safetensors; nothing that could be run."""

    files: tuple[ManifestFile, ...]
    tensors: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="file -> tensor -> sha256 of the tensor's bytes; empty where the source was only listed, not read",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="safetensors file -> sha256 of its header, the eight bytes of its length included; with tensors",
    )

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hexadecimal digits: the name of these weights."""
        ordered = sorted(self.files, key=lambda file: file.path)
        lines = "".join(f"{file.sha256}  {file.size}  {file.path}\n" for file in ordered)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

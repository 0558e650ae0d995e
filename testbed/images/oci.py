"""Images as data: layers, configuration and manifest of the OCI format, and the archive that holds them.

Everything is a function of its input (fixed times and owners), so the same content is the same image.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Blob:
    """Bytes with their digest."""

    data: bytes

    @property
    def digest(self) -> str:
        """The digest as OCI spells it."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    def descriptor(self, media_type: str) -> dict[str, Any]:
        """Return what refers to the blob."""
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.data)}


def json_blob(value: object) -> Blob:
    """Return a value as a blob."""
    return Blob(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def layer(files: Mapping[str, tuple[bytes, int]]) -> Blob:
    """Return a layer with these files: path to content and mode. Owned by root, dated to the epoch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            data, mode = files[path]
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return Blob(buffer.getvalue())


def scratch_image(layers: Sequence[Blob], *, config: Mapping[str, Any]) -> tuple[Blob, Blob]:
    """Return manifest and configuration of an image made of these layers alone; `config` as in OCI's image spec."""
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in layers]},
    }
    blob = json_blob(described)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": blob.descriptor(_CONFIG),
        "layers": [one.descriptor(_LAYER) for one in layers],
    }
    return json_blob(manifest), blob


def archive(names: Iterable[str], *, manifest: Blob, blobs: Iterable[Blob]) -> bytes:
    """Return an OCI archive with one image under its full names; blobs that the reader has may be left out."""
    described = manifest.descriptor(_MANIFEST)
    entries = [{**described, "annotations": {"io.containerd.image.name": name}} for name in names]
    index = {"schemaVersion": 2, "manifests": entries}
    files: dict[str, tuple[bytes, int]] = {
        "oci-layout": (b'{"imageLayoutVersion":"1.0.0"}', 0o644),
        "index.json": (json_blob(index).data, 0o644),
    }
    for blob in (manifest, *blobs):
        files[f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"] = (blob.data, 0o644)
    return layer(files).data


def chain(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain id of each layer: the digest that names a layer together with all below it."""
    chains: list[str] = []
    for diff_id in diff_ids:
        text = f"{chains[-1]} {diff_id}" if chains else diff_id
        chains.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if chains else diff_id)
    return chains

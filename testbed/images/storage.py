"""Images as buildah keeps them on disk: what the node's store needs, without exporting anything.

A layer lies unpacked in `overlay/<id>/diff`, in the very form in which containerd's overlay snapshotter keeps it.
`overlay-layers/layers.json` and `overlay-images/` say which layers an image has.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BedError
from testbed.images.oci import Blob


@dataclass(frozen=True)
class Layer:
    """An unpacked layer: the digest of its tar and the folder with its files."""

    diff_id: str
    folder: Path


@dataclass(frozen=True)
class Image:
    """An image in buildah's store, with all its names."""

    names: tuple[str, ...]
    manifest: Blob
    config: Blob
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        """Digest of the manifest: equal digests are equal images."""
        return self.manifest.digest


def names(root: Path) -> set[str]:
    """Return the names of all images."""
    return {name for record in _records(root) for name in record.get("names", [])}


def read(root: Path, name: str) -> Image:
    """Read the image with this name.

    Raises:
        BedError: there is none.
    """
    record = next((record for record in _records(root) if name in record.get("names", [])), None)
    if record is None:
        raise BedError(f"there is no image '{name}' in {root}: `python -m testbed images` builds ours")
    folder = root / "overlay-images" / record["id"]
    # Names that are not plain file names are stored in base 64 behind an equals sign.
    config = folder / ("=" + base64.b64encode(f"sha256:{record['id']}".encode()).decode())
    return Image(
        names=tuple(record["names"]),
        manifest=Blob((folder / "manifest").read_bytes()),
        config=Blob(config.read_bytes()),
        layers=_layers(root, record["layer"]),
    )


def _records(root: Path) -> list[dict[str, Any]]:
    path = root / "overlay-images" / "images.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def _layers(root: Path, top: str) -> tuple[Layer, ...]:
    """Return the layers up to this one, the lowest first."""
    records: dict[str, dict[str, Any]] = {
        record["id"]: record for record in json.loads((root / "overlay-layers" / "layers.json").read_text())
    }
    found: list[Layer] = []
    layer = top
    while layer:
        record = records[layer]
        found.append(Layer(diff_id=record["diff-digest"], folder=root / "overlay" / layer / "diff"))
        layer = record.get("parent", "")
    return tuple(reversed(found))

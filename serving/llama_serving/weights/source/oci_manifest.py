"""Which files an OCI artifact has, by its manifest: a layer for each, unpacked, with its name in an annotation."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_serving.common.file_names import is_plain_name
from llama_serving.common.foreign_json import parse_foreign_json
from llama_serving.weights.source.http_errors import printable
from llama_serving.weights.source.interface import ListedFile

#: Bytes of a manifest, as registries allow.
LARGEST_MANIFEST: Final = 4 << 20
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_TITLES: Final = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_ARCHIVE: Final = re.compile(r"\b(tar|gzip|zstd)\b")


def read_oci_manifest(text: bytes) -> Mapping[str, Any]:
    """Return the manifest, or the index, that a registry answered. Raises ValueError with a clause."""
    found = parse_foreign_json(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def entries_of(manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the digests of an index; None for a manifest."""
    entries = manifest.get("manifests")
    if not isinstance(entries, list):
        return None
    found = [str(entry.get("digest")) for entry in entries if isinstance(entry, dict)]
    return tuple(digest for digest in found if DIGEST.fullmatch(digest))


def listed_files(manifest: Mapping[str, Any]) -> tuple[ListedFile, ...]:
    """Return a file for each layer that is one."""
    return tuple(file for layer in _layers(manifest) if (file := _file(layer)) is not None)


def kinds_of(manifest: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return the number of layers, and their media types for a message."""
    layers = _layers(manifest)
    return len(layers), tuple(printable(kind) for kind in sorted({str(layer.get("mediaType")) for layer in layers}))


def _layers(manifest: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    listed = manifest.get("layers")
    return [layer for layer in listed if isinstance(layer, dict)] if isinstance(listed, list) else []


def _file(layer: dict[str, Any]) -> ListedFile | None:
    """Return a layer's file; None for one without a title, in a sub-folder, packed, or with another digest."""
    notes = layer.get("annotations")
    notes = notes if isinstance(notes, dict) else {}
    title = next((str(notes[key]) for key in _TITLES if key in notes), "")
    digest = DIGEST.fullmatch(str(layer.get("digest")))
    size = layer.get("size")
    packed = _ARCHIVE.search(str(layer.get("mediaType")))
    if not is_plain_name(title) or digest is None or type(size) is not int or size < 0 or packed:
        return None
    return ListedFile(title, size, digest[1])

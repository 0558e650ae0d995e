"""The manifest in a ConfigMap: whoever may write ConfigMaps wrote it, so it is bounded before it is unpacked.

It is decoded once for each version of the ConfigMap, and what is no manifest is remembered as well: a ConfigMap that
unpacks to gigabytes costs one try up to the limit, whatever number of deployments looks at it.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_operator.bounds.byte_cache import ByteCache
from llama_operator.bounds.json_text import JsonLimits, OverLimitError
from llama_operator.bounds.packed import DamagedError, inflate
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_operator.ports import LEFT_OUT
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import Manifest

Body = Mapping[str, Any]

#: Bytes of gzip: a ConfigMap holds no more.
MANIFEST_PACKED: Final = 1 << 20
#: The JSON inside. Llama 3.1 405B in 1,000 files with all digests has 0.4 MB and 8,000 elements.
MANIFEST_JSON: Final = JsonLimits(size=4 << 20, elements=100_000, depth=8)
#: Bytes of JSON whose manifests are remembered, over all namespaces.
MANIFESTS_REMEMBERED: Final = 16 << 20
#: Bytes that a remembered result without a manifest, or a key, counts as at least.
_LEAST: Final = 1 << 10


@dataclass(frozen=True)
class StoredManifest:
    """What a ConfigMap holds. Neither field is set while it is empty."""

    manifest: Manifest | None = None
    problem: str = ""  # why it cannot be read, as a clause without a subject


_EMPTY: Final = StoredManifest()
_REMEMBERED: Final = ByteCache[StoredManifest](MANIFESTS_REMEMBERED)


def read_manifest(body: Body | None) -> StoredManifest:
    """Return the manifest in a ConfigMap, or why there is none that can be read."""
    if body and LEFT_OUT in body:
        return StoredManifest(problem=f"is not read: {body[LEFT_OUT]}")
    text = ((body or {}).get("binaryData") or {}).get(MANIFEST_KEY, "")
    if not body or not text:
        return _EMPTY
    return _REMEMBERED.get(_version(body, text), lambda: _decoded(text))


def stored_manifest(body: Body | None) -> Manifest | None:
    """Return the manifest in a ConfigMap; None while it is empty, or when it holds something else."""
    return read_manifest(body).manifest


def manifest_problem(body: Body | None) -> str:
    """Say why the manifest in a ConfigMap cannot be read, as a clause; empty where it can, or where there is none."""
    problem = read_manifest(body).problem
    return f"{MANIFEST_KEY} of ConfigMap {(body or {})['metadata']['name']} {problem}" if problem else ""


def _version(body: Body, text: str) -> Hashable:
    """Name the content: the API server gives every version of an object another number."""
    meta = body.get("metadata") or {}
    uid, version = meta.get("uid"), meta.get("resourceVersion")
    return (uid, version) if uid and version else hashlib.sha256(text.encode()).digest()


def _decoded(text: str) -> tuple[StoredManifest, int]:
    """Decode it; return it with the bytes that it counts as."""
    try:
        data = inflate(text, packed=MANIFEST_PACKED, inflated=MANIFEST_JSON.size)
        return StoredManifest(parse_json(Manifest, data, MANIFEST_JSON)), len(data) + _LEAST
    except UnreadableError as error:
        return StoredManifest(problem=f"is no manifest: {error}"), _LEAST
    except (OverLimitError, DamagedError) as error:
        return StoredManifest(problem=str(error)), _LEAST

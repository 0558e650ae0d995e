"""Which weights a deployment uses, and what stager and engine are told of them.

A deployment uses any LlamaWeights of its namespace with the same content, whoever made it. One that a user made first
has a name of its own. A ready one is taken before one that is still resolved, a user's before ours, so that what was
checked once is not read again. The ConfigMaps of the groups name weights too: they outlive a LlamaWeights that is being
resolved again.
"""

import json
from collections.abc import Mapping
from typing import Final

from llama_operator.bounds.byte_cache import ByteCache
from llama_operator.bounds.json_text import JsonLimits, OverLimitError, check_json
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_operator.observe.deployment import Snapshot, WeightsView
from llama_operator.plan.naming import weights_id
from llama_serving.config import names
from llama_serving.config.cell import AdapterLimits, WeightsRef
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.source import fill, is_mounted, split

#: Key of a group's ConfigMap that holds the weights that its pods start with.
_FILE = names.MANIFEST_PATH.rpartition("/")[2]
#: Key of it that holds what its cells start from.
_CONFIG = names.CELL_CONFIG_PATH.rpartition("/")[2]

#: One key of a group's ConfigMap, which holds 1 MiB.
GROUP_FILE: Final = JsonLimits(size=1 << 20, elements=100_000)
#: Bytes of texts and what they say that are remembered, over all deployments.
_FILES: Final = ByteCache[WeightsArtifact | None](32 << 20)
_LIMITS: Final = ByteCache[AdapterLimits | None](8 << 20)


def weights_by_content(known: Mapping[str, WeightsView]) -> dict[str, WeightsView]:
    """Return the weights that a deployment uses, by the hash of what names them (``content_of`` a model)."""
    best_last = sorted(known.values(), key=lambda view: (not view.ready, view.ours, view.name), reverse=True)
    return {view.content: view for view in best_last}


def known_artifacts(
    snapshot: Snapshot, files: Mapping[str, WeightsArtifact], served_name: str
) -> dict[str, WeightsArtifact]:
    """Return by digest all weights that a group can be told to serve. ``files``: see ``group_files``."""
    found = {serve.weights.digest: serve for serve in files.values()}
    ready = (view for _, view in sorted(snapshot.weights.items()) if view.ready and view.manifest)
    return found | {view.digest: weights_artifact(view, served_name) for view in ready}


def group_files(snapshot: Snapshot) -> dict[str, WeightsArtifact]:
    """Read from the groups' ConfigMaps, by the name of the group, the weights that its pods start with."""
    found = {}
    for child in snapshot.children:
        text = (child.get("data") or {}).get(_FILE) if child["kind"] == "ConfigMap" else None
        if text and (serve := _parsed(text)):
            found[child["metadata"]["name"]] = serve
    return found


def group_limits(snapshot: Snapshot) -> dict[str, AdapterLimits]:
    """Read from the groups' ConfigMaps, by the name of the group, the room for adapters that its engine makes."""
    found = {}
    for child in snapshot.children:
        text = (child.get("data") or {}).get(_CONFIG) if child["kind"] == "ConfigMap" else None
        if text and (limits := _parsed_limits(text)):
            found[child["metadata"]["name"]] = limits
    return found


def weights_artifact(view: WeightsView, served_name: str) -> WeightsArtifact:
    """Return what stager and engine are told of ready weights. Raises ValueError without ``view.manifest``."""
    if view.manifest is None:
        raise ValueError(f"the manifest of {view.name} is not known")
    source = fill(view.source, view.revision)
    weights = WeightsRef(
        path=weights_folder(source, view.digest),
        id=weights_id(view.revision, view.digest),
        served_name=served_name,
        digest=view.digest,
    )
    return WeightsArtifact(
        weights=weights, source=source, revision=view.resolved or view.revision, manifest=view.manifest
    )


def weights_folder(source: str, digest: str) -> str:
    """Return where a pod finds the weights: in the mounted claim, or where its stager puts them."""
    if not is_mounted(source):
        return names.weights_path(digest)
    path = split(source).path
    return f"{names.MODEL_MOUNT}/{path}" if path else names.MODEL_MOUNT


def _parsed_limits(text: str) -> AdapterLimits | None:
    """Parse the one part of a group's config, whatever fields another version of the operator wrote beside it."""
    return _LIMITS.get(text, lambda: (_read_limits(text.encode()), len(text)))


def _read_limits(text: bytes) -> AdapterLimits | None:
    try:
        check_json(text, GROUP_FILE)
        part = json.loads(text).get("adapters")
        return AdapterLimits.model_validate(part) if part else None
    except (ValueError, AttributeError):
        return None


def _parsed(text: str) -> WeightsArtifact | None:
    """Parse a file. That of a large model has 150 KB and is read in every pass, so it is remembered by its text."""
    return _FILES.get(text, lambda: (_read(text.encode()), 2 * len(text)))


def _read(text: bytes) -> WeightsArtifact | None:
    try:
        return parse_json(WeightsArtifact, text, GROUP_FILE)
    except (OverLimitError, UnreadableError):
        return None  # of another version of the operator, or of somebody else: it is written anew

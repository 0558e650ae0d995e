"""Whether an observed object is as it is wanted.

An object of ours is written when a field that we set differs from what was observed, whoever changed it. Fields that
the API server or others add are theirs. A field that we no longer set changes the digest annotation, so that the
server-side apply, which removes it, happens.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from llama_operator.api.crdgen.quantity import parse
from llama_operator.hashing import short_hash
from llama_operator.ports import Manifest, Ref
from llama_serving.config import names

_AMOUNTS = frozenset({"requests", "limits"})


def covers(observed: Any, wanted: Any) -> bool:
    """Return whether ``observed`` has everything in ``wanted``; it may have more fields, not more list items.

    The API server drops empty lists and maps, so nothing is as good as an empty one.
    """
    if observed == wanted or (observed is None and wanted in ({}, [])):
        return True
    if isinstance(wanted, dict):
        return isinstance(observed, dict) and all(
            (_same_amounts if key in _AMOUNTS else covers)(observed.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(observed, list)
            and len(observed) == len(wanted)
            and all(covers(one, other) for one, other in zip(observed, wanted, strict=True))
        )
    return False


def _same_amounts(observed: Any, wanted: dict[str, str]) -> bool:
    """Compare amounts: the API server writes ``0.5`` as ``500m``."""
    return isinstance(observed, dict) and all(
        key in observed and parse(str(observed[key])) == parse(value) for key, value in wanted.items()
    )


def with_digest(manifest: Manifest) -> Manifest:
    """Return the object with a digest of itself among its annotations."""
    meta = manifest["metadata"]
    annotations = {**meta.get("annotations", {}), names.ANNOTATION_DIGEST: short_hash(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def identity(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return kind and name; all children live in one namespace."""
    return manifest["kind"], manifest["metadata"]["name"]


def left_over(children: Iterable[Manifest], keep: Container[tuple[str, str]]) -> tuple[Ref, ...]:
    """Return our objects that nothing wants any more and that are not being deleted. ``keep``: kind and name."""
    return tuple(
        Ref(child["apiVersion"], child["kind"], child["metadata"]["name"], child["metadata"].get("uid", ""))
        for child in children
        if identity(child) not in keep and "deletionTimestamp" not in child["metadata"]
    )

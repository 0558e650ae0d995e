"""What the objects of a namespace keep in this process: whoever may label a ConfigMap could make it keep any number.

An object over the budget is shown without its content, as a stub with LEFT_OUT; its deployment says so. A namespace may
keep NAMESPACE bytes, and where all of them together have TOTAL, SHARE bytes: so none takes what others need. Objects of
our own kinds are not counted: their schemas bound them.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from llama_operator.api import API_GROUP
from llama_operator.ports import LEFT_OUT, Manifest

NAMESPACE: Final = 64 << 20  # bytes of JSON
TOTAL: Final = 160 << 20
SHARE: Final = 16 << 20
_NAMING: Final = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp")


@dataclass
class ObjectBudget:
    """Bytes of JSON that are kept, by namespace and uid."""

    namespace: int = NAMESPACE
    total: int = TOTAL
    share: int = SHARE
    held: dict[str, int] = field(default_factory=dict)  # by namespace
    sizes: dict[str, int] = field(default_factory=dict)  # by uid

    def shown(self, body: Manifest, size: int) -> Manifest:
        """Return the object as it is shown: whole, without the record of its managers, or as a stub."""
        meta = body["metadata"]
        meta.pop("managedFields", None)  # a third of its bytes, that nobody reads
        uid, where = meta["uid"], meta.get("namespace", "")
        self.drop(where, uid)
        if str(body.get("apiVersion", "")).startswith(f"{API_GROUP}/"):
            return body
        before = self.held.get(where, 0)
        allowed = self.namespace if sum(self.held.values()) + size <= self.total else self.share
        if before + size > allowed:
            return stub(body, f"it has {size} bytes, and the objects of its namespace may have {allowed} together")
        self.held[where], self.sizes[uid] = before + size, size
        return body

    def drop(self, namespace: str, uid: str) -> None:
        """Count an object no more."""
        size = self.sizes.pop(uid, 0)
        left = self.held.get(namespace, 0) - size
        if left > 0:
            self.held[namespace] = left
        else:
            self.held.pop(namespace, None)


def stub(body: Manifest, why: str) -> Manifest:
    """Return what names an object, and why it is shown without its content."""
    meta = {key: body["metadata"][key] for key in _NAMING if key in body["metadata"]}
    return {"apiVersion": body.get("apiVersion", ""), "kind": body.get("kind", ""), "metadata": meta, LEFT_OUT: why}


def size_of(body: Any) -> int:
    """Return the bytes of an object's JSON, about."""
    return len(json.dumps(body, ensure_ascii=False))

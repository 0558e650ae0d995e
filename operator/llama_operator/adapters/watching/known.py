"""What one path has shown, so that a new list also tells what is gone: nobody sends an event for that.

Of each object only what names it and its owner is kept.
"""

from collections.abc import Iterable
from typing import Any

from llama_operator.adapters.watching.budget import ObjectBudget, size_of
from llama_operator.ports import Manifest

_NAMING = ("name", "namespace", "uid", "labels", "ownerReferences")


class KnownObjects:
    """The objects of one path, by uid. ``budget``: what objects may keep."""

    def __init__(self, budget: ObjectBudget) -> None:
        self._budget = budget
        self._held: dict[str, Manifest] = {}
        self._listed: set[str] = set()
        self._gone: list[Manifest] = []

    def __len__(self) -> int:
        return len(self._held)

    def page(self, items: Iterable[Manifest], *, first: bool) -> list[Manifest]:
        """See a page of a list; return its objects as they are shown."""
        if first:
            self._listed = set()
        return [self._shown(body) for body in items]

    def listed(self, version: str) -> None:
        """See that the list is complete: what it did not have is gone since, at this version of the list."""
        for uid in [uid for uid in self._held if uid not in self._listed]:
            body = self._forget(uid)
            body["metadata"]["resourceVersion"] = version
            self._gone.append({"type": "DELETED", "object": body})
        self._listed = set()

    def see(self, event: Manifest, *, size: int) -> Manifest:
        """See an event of the watch, of so many bytes; return it as it is shown."""
        body: Any = event.get("object")
        if event["type"] == "BOOKMARK":
            return event
        if event["type"] == "DELETED":
            self._forget(body["metadata"]["uid"])
            return event
        self._keep(body)
        return {**event, "object": self._budget.shown(body, size)}

    def departures(self) -> list[Manifest]:
        """Return, once, the events that tell of what is gone."""
        gone, self._gone = self._gone, []
        return gone

    def close(self) -> None:
        """Keep nothing any more."""
        for uid in list(self._held):
            self._forget(uid)

    def _shown(self, body: Manifest) -> Manifest:
        self._listed.add(body["metadata"]["uid"])
        self._keep(body)
        return self._budget.shown(body, size_of(body))

    def _keep(self, body: Manifest) -> None:
        meta = body["metadata"]
        kept = {key: meta[key] for key in _NAMING if key in meta}
        self._held[meta["uid"]] = {
            "apiVersion": body.get("apiVersion", ""), "kind": body.get("kind", ""), "metadata": kept,
        }  # fmt: skip

    def _forget(self, uid: str) -> Manifest:
        body = self._held.pop(uid, {"metadata": {}})
        self._budget.drop(body["metadata"].get("namespace", ""), uid)
        return body

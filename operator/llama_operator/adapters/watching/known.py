"""What one path has shown, so that a new list also tells what is gone: nobody sends an event for that.

Of each object only what names it and its owner is kept.
"""

from collections.abc import Iterable
from typing import Any

from llama_operator.ports import Manifest

_NAMING = ("name", "namespace", "uid", "labels", "ownerReferences")


class KnownObjects:
    """The objects of one path, by uid."""

    def __init__(self) -> None:
        self._held: dict[str, Manifest] = {}
        self._listed: set[str] = set()
        self._gone: list[Manifest] = []

    def __len__(self) -> int:
        return len(self._held)

    def page(self, items: Iterable[Manifest], *, first: bool) -> None:
        """See a page of a list."""
        if first:
            self._listed = set()
        for body in items:
            self._listed.add(body["metadata"]["uid"])
            self._keep(body)

    def listed(self, version: str) -> None:
        """See that the list is complete: what it did not have is gone since, at this version of the list."""
        for uid in [uid for uid in self._held if uid not in self._listed]:
            body = self._held.pop(uid)
            body["metadata"]["resourceVersion"] = version
            self._gone.append({"type": "DELETED", "object": body})
        self._listed = set()

    def see(self, event: Manifest) -> None:
        """See an event of the watch."""
        body: Any = event.get("object")
        if event["type"] == "DELETED":
            self._held.pop(body["metadata"]["uid"], None)
        elif event["type"] != "BOOKMARK":
            self._keep(body)

    def departures(self) -> list[Manifest]:
        """Return, once, the events that tell of what is gone."""
        gone, self._gone = self._gone, []
        return gone

    def _keep(self, body: Manifest) -> None:
        meta = body["metadata"]
        kept = {key: meta[key] for key in _NAMING if key in meta}
        self._held[meta["uid"]] = {
            "apiVersion": body.get("apiVersion", ""), "kind": body.get("kind", ""), "metadata": kept,
        }  # fmt: skip

"""The objects of a small API server: versions, selectors, patches and the history that watches go on from."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """What a path names: ``version`` is group and version, ``name`` empty for a collection."""

    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    sub: str = ""


def place_of(path: str) -> Place | None:
    """Return what a path of the API names; None for discovery."""
    words = path.strip("/").split("/")
    version, rest = ("v1", words[2:]) if words[0] == "api" else ("/".join(words[1:3]), words[3:])
    if not rest:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return Place(version, rest[0], namespace, *rest[1:3])


@dataclass
class Store:
    """All objects, by group and version and plural, then namespace and name."""

    objects: dict[tuple[str, str], dict[tuple[str, str], Body]] = field(default_factory=dict)
    history: list[tuple[int, str, str, Body]] = field(default_factory=list)  # version, plural, type, object
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    version: int = 0

    def listed(self, place: Place, selectors: dict[str, str]) -> list[Body]:
        """The objects of a collection that the selectors choose, by name."""
        found = self._of(place)
        return [body for _, body in sorted(found.items()) if chosen(body, place.namespace, selectors)]

    def get(self, place: Place) -> Body | None:
        return self._of(place).get((place.namespace, place.name))

    def put(self, place: Place, body: Body) -> Body:
        """Store an object; one that is as it was keeps its version."""
        before = self.get(place)
        meta = body.setdefault("metadata", {})
        meta |= {"name": place.name or meta["name"], "namespace": place.namespace}
        meta.setdefault("uid", f"uid-{next(self.numbers)}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        meta.setdefault("generation", 1)
        if before is not None:
            meta["resourceVersion"] = before["metadata"]["resourceVersion"]
            if before == body:
                return before
            if before.get("spec") != body.get("spec"):
                meta["generation"] = before["metadata"]["generation"] + 1
        self._stamp(body)
        self._of(place)[place.namespace, meta["name"]] = body
        self._record(place, "MODIFIED" if before else "ADDED", body)
        return body

    def delete(self, place: Place) -> Body | None:
        body = self._of(place).pop((place.namespace, place.name), None)
        if body is not None:
            self._stamp(body)
            self._record(place, "DELETED", body)
        return body

    def forget(self, place: Place) -> None:
        """Lose an object without an event, as between two lists."""
        self._of(place).pop((place.namespace, place.name), None)

    def since(self, version: int, place: Place, selectors: dict[str, str]) -> list[tuple[int, str, Body]]:
        """What a watch from this version shows."""
        return [
            (number, kind, body)
            for number, plural, kind, body in self.history
            if number > version and plural == place.plural and chosen(body, place.namespace, selectors)
        ]

    def _of(self, place: Place) -> dict[tuple[str, str], Body]:
        return self.objects.setdefault((place.version, place.plural), {})

    def _stamp(self, body: Body) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)

    def _record(self, place: Place, kind: str, body: Body) -> None:
        self.history.append((self.version, place.plural, kind, copy.deepcopy(body)))


def chosen(body: Body, namespace: str, selectors: dict[str, str]) -> bool:
    """Whether a namespace and the selectors of a request choose an object: equality only."""
    meta = body["metadata"]
    labels = meta.get("labels") or {}
    wanted = [one.split("=", 1) for one in selectors.get("labelSelector", "").split(",") if "=" in one]
    named = selectors.get("fieldSelector", "").removeprefix("metadata.name=")
    by_name = named == meta["name"] if "metadata.name=" in selectors.get("fieldSelector", "") else True
    return namespace in ("", meta["namespace"]) and all(labels.get(key) == value for key, value in wanted) and by_name


def merged(before: Any, patch: Any) -> Any:
    """A merge patch: None removes."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found

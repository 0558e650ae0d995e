"""What this process wrote and the watches do not show yet, so that no pass writes it again meanwhile.

A write answers with the resourceVersion that the object has since. Until the watches show that version, or a later one
(versions of one object grow), the same write would change nothing and is left out, and a status that was written is
taken for the status. An object that the watches have not shown at all counts as on its way for UNSEEN seconds only: it
may have come and gone between two passes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from llama_operator.hashing import short_hash
from llama_operator.ports import Cluster, Key, Manifest, Ref

UNSEEN: Final = timedelta(seconds=15)
LONGEST: Final = timedelta(minutes=5)  # for which a watch is believed to lag

_NEVER: Final = datetime.fromtimestamp(0, UTC)

#: Kind and name of an object, and what is written of it.
About = tuple[str, str, str]


@dataclass(frozen=True)
class _Written:
    content: str
    version: str  # since the write
    shown: bool  # the watches had shown the object
    at: datetime
    status: Manifest | None = None


@dataclass
class OwnWrites:
    """The writes of the loop of one object."""

    now: datetime = _NEVER
    seen: Mapping[tuple[str, str], str] = field(default_factory=dict)  # versions that the watches show, by kind, name
    held: dict[About, _Written] = field(default_factory=dict)

    def begin(self, bodies: Iterable[Mapping[str, Any]], now: datetime) -> None:
        """Begin a pass: forget what the watches show by now."""
        self.now = now
        self.seen = {
            (str(body.get("kind", "")), meta["name"]): str(meta.get("resourceVersion") or "")
            for body in bodies
            for meta in (body["metadata"],)
        }
        self.held = {about: one for about, one in self.held.items() if self._is_pending(about, one)}

    def repeats(self, about: About, content: object) -> bool:
        """Tell whether this was written, and nothing else of the same object since."""
        found = self.held.get(about)
        return found is not None and found.content == short_hash(content)

    def keep(self, about: About, content: object, version: str) -> None:
        """Note a write that was accepted. Without a version nothing tells when it is shown: it is not kept."""
        if not version:
            self.held.pop(about, None)
            return
        status = cast(Manifest, content) if about[2] == "status" else None
        shown = bool(self.seen.get(about[:2]))
        self.held[about] = _Written(short_hash(content), version, shown, self.now, status)

    def status(self, kind: str, name: str) -> Manifest | None:
        """Return the status that was written and is not shown yet."""
        found = self.held.get((kind, name, "status"))
        return found.status if found else None

    def _is_pending(self, about: About, one: _Written) -> bool:
        seen, age = self.seen.get(about[:2], ""), self.now - one.at
        if not seen:
            return not one.shown and age < UNSEEN
        older = seen.isdecimal() and one.version.isdecimal() and int(seen) < int(one.version)
        return older and age < LONGEST


class _Once:
    """The port ``Cluster`` for one pass; what the port has beside these writes is that of the cluster."""

    def __init__(self, cluster: Cluster, own: OwnWrites) -> None:
        self._cluster = cluster
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def apply(self, key: Key, manifest: Manifest, *, force: bool, manager: str = "") -> str:
        about = (manifest["kind"], manifest["metadata"]["name"], f"object {manager}")
        if self._own.repeats(about, manifest):
            return ""
        version = await self._cluster.apply(key, manifest, force=force, manager=manager)
        self._own.keep(about, manifest, version)
        return version

    async def write_status(self, key: Key, status: Manifest, *, kind: str) -> str:
        about = (kind, key.name, "status")
        if self._own.repeats(about, status):
            return ""
        version = await self._cluster.write_status(key, status, kind=kind)
        self._own.keep(about, status, version)
        return version

    async def set_rotation(
        self, key: Key, pod: Ref, *, open_: bool, reason: str, weights: str, move: bool = False
    ) -> str:
        about, content = ("Pod", pod.name, "rotation"), [pod.uid, open_, reason, weights, move]
        if self._own.repeats(about, content):
            return ""
        version = await self._cluster.set_rotation(key, pod, open_=open_, reason=reason, weights=weights, move=move)
        self._own.keep(about, content, version)
        return version

    async def set_pod_metadata(
        self, key: Key, pod: Ref, *, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]
    ) -> str:
        about = ("Pod", pod.name, f"metadata {sorted(labels)} {sorted(annotations)}")
        content = [pod.uid, dict(labels), dict(annotations)]
        if self._own.repeats(about, content):
            return ""
        version = await self._cluster.set_pod_metadata(key, pod, labels=labels, annotations=annotations)
        self._own.keep(about, content, version)
        return version

    async def admit(self, key: Key, pod: Ref, *, at: datetime) -> str:
        about = ("Pod", pod.name, "admission")
        if self._own.repeats(about, pod.uid):
            return ""
        version = await self._cluster.admit(key, pod, at=at)
        self._own.keep(about, pod.uid, version)
        return version


def once(cluster: Cluster, own: OwnWrites) -> Cluster:
    """Return the cluster of one pass, which leaves out the writes that ``own`` has and that are not shown yet."""
    return cast(Cluster, _Once(cluster, own))

"""An API server of our own port: server-side apply of one manager, uids, graceful deletes, generations.

Its behaviour is held to the real one by tests/contract/test_cluster_port.py, which runs on both.
"""

import copy
import itertools
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from llama_operator.adapters.kube import check_owner
from llama_operator.api import API_VERSION, KIND
from llama_operator.ports import Key, Manifest, NodeRoom, Notice, Owner, Ref, Rejected
from llama_operator.reconcile import Bodies
from llama_serving.config import names

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeCluster:
    """One namespace. ``faults[k]`` is raised instead of the k-th call (from 0) when it is set."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.events: list[Notice] = []
        self.calls: list[str] = []
        self.writes: list[str] = []
        self.faults: dict[int, BaseException] = {}
        self.late_faults: dict[int, BaseException] = {}  # the call is done, its answer is lost
        self.room: Sequence[NodeRoom] | None = None
        self.now = START
        self._uids = itertools.count(1)

    # -- the port ---------------------------------------------------------------------------------------------------

    async def apply(self, key: Key, manifest: Manifest, *, force: bool) -> None:
        what = f"apply {manifest['kind']} {manifest['metadata']['name']}"
        self._call(what, lambda: self._apply(key, manifest, force))

    async def delete(self, key: Key, ref: Ref, *, grace: int | None = None) -> None:
        self._call(f"delete {ref.kind} {ref.name}", lambda: self._delete(ref, grace))

    async def set_rotation(self, key: Key, pod: Ref, *, open_: bool, reason: str, weights: str) -> None:
        self._call(f"rotation {pod.name} {open_}", lambda: self._rotate(pod, open_, reason, weights))

    async def ensure_token(self, key: Key, manifest: Manifest) -> None:
        name = ("Secret", manifest["metadata"]["name"])
        known = self.objects.get(name)

        def create() -> None:
            if known is None:
                self._apply(key, {**manifest, "stringData": {"token": f"token-{len(self.calls)}"}}, True)
            else:
                check_owner(known, manifest)

        self._call(f"token {name[1]}", create, write=known is None)

    async def write_status(self, key: Key, status: Manifest) -> None:
        def write() -> None:
            found = self.objects.get((KIND, key.name))
            if found is not None:
                found["status"] = clone(status)

        self._call(f"status {key.name}", write)

    async def emit(self, owner: Owner, notice: Notice) -> None:
        self._call(f"event {notice.reason}", lambda: self.events.append(notice))

    async def rooms(self) -> Sequence[NodeRoom] | None:
        self._call("rooms", lambda: None, write=False)
        return self.room

    # -- the user and the cluster's controllers ---------------------------------------------------------------------

    def create_deployment(self, key: Key, spec: Manifest) -> None:
        """``kubectl create`` of a LlamaDeployment."""
        meta = {"name": key.name, "namespace": key.namespace, "generation": 1, **self._born()}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": copy.deepcopy(spec)}
        self.objects[KIND, key.name] = body

    def edit(self, key: Key, change: Callable[[Manifest], None]) -> None:
        """``kubectl edit`` of the spec."""
        body = self.objects[KIND, key.name]
        change(body["spec"])
        body["metadata"]["generation"] += 1

    def bodies(self, key: Key) -> Bodies:
        """What the watches would hold now."""
        children = [body for (kind, _), body in self.objects.items() if kind not in (KIND, "Secret")]
        mine = [child for child in children if is_watched(child, key)]
        deployment, children = clone((self.objects[KIND, key.name], mine))
        return Bodies(deployment, children)

    def pods(self) -> list[Manifest]:
        return [body for (kind, _), body in sorted(self.objects.items()) if kind == "Pod"]

    def vanish(self, kind: str, name: str) -> None:
        """The object is gone, without a farewell."""
        self.objects.pop((kind, name), None)
        self.applied.pop((kind, name), None)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _call(self, what: str, action: Callable[[], None], *, write: bool = True) -> None:
        number = len(self.calls)
        self.calls.append(what)
        if number in self.faults:
            raise self.faults[number]
        if write:
            self.writes.append(what)
        action()
        if number in self.late_faults:
            raise self.late_faults[number]

    def _born(self) -> Manifest:
        return {"uid": f"uid-{next(self._uids)}", "creationTimestamp": stamp(self.now)}

    def _apply(self, key: Key, manifest: Manifest, force: bool) -> None:
        name = (manifest["kind"], manifest["metadata"]["name"])
        before = self.objects.get(name)
        if before is None:
            made = clone(manifest)
            made["metadata"] |= self._born()
            self.objects[name] = made
        else:
            last = self.applied.get(name, {})
            if not force and (fields := _conflicts(before, last, manifest)):
                raise Rejected(f"Apply failed with {len(fields)} conflict: {', '.join(fields)}")
            _remove(before, last, manifest)
            _merge(before, clone(manifest))
        self.applied[name] = clone(manifest)

    def _delete(self, ref: Ref, grace: int | None) -> None:
        body = self.objects.get((ref.kind, ref.name))
        if body is None or (ref.uid and body["metadata"]["uid"] != ref.uid):
            return
        if ref.kind != "Pod" or grace == 0 or not body.get("spec", {}).get("nodeName"):
            self.vanish(ref.kind, ref.name)
            return
        seconds = body["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        meta = body["metadata"]
        end = stamp(self.now + timedelta(seconds=seconds))
        meta["deletionTimestamp"] = min(end, meta.get("deletionTimestamp", end))  # a later delete may only shorten it
        meta["deletionGracePeriodSeconds"] = seconds

    def _rotate(self, pod: Ref, open_: bool, reason: str, weights: str) -> None:
        body = self.objects.get(("Pod", pod.name))
        if body is None or body["metadata"]["uid"] != pod.uid:
            return
        if weights:
            body["metadata"].setdefault("annotations", {})[names.ANNOTATION_WEIGHTS] = weights
        set_condition(body, names.GATE_IN_ROTATION, open_, reason)


def set_condition(body: Manifest, kind: str, value: bool, message: str = "") -> None:
    """Set a condition in an object's status."""
    conditions = body.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [item for item in conditions if item["type"] != kind]
    conditions.append({"type": kind, "status": "True" if value else "False", "message": message})


def stamp(moment: datetime) -> str:
    """metav1.Time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def clone(value: Any) -> Any:
    """A deep copy; pickle is five times faster than copy.deepcopy on such trees."""
    return pickle.loads(pickle.dumps(value))


def is_watched(child: Manifest, key: Key) -> bool:
    """The label selector of the watches and the key of their index."""
    labels = child["metadata"].get("labels") or {}
    mine = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_DEPLOYMENT: key.name}
    return mine.items() <= labels.items()


def _conflicts(existing: Any, last: Any, wanted: Manifest, path: str = "") -> list[str]:
    """Fields that we want otherwise than somebody else has set them."""
    found: list[str] = []
    for key, value in wanted.items():
        there, before = existing.get(key), last.get(key) if isinstance(last, dict) else None
        if isinstance(value, dict) and isinstance(there, dict):
            found += _conflicts(there, before or {}, value, f"{path}.{key}")
        elif there not in (None, value, before) and (path, key) != (".metadata", "ownerReferences"):
            found.append(f"{path}.{key}")
    return found


def _merge(target: Any, source: Manifest) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _remove(target: Manifest, before: Manifest, after: Manifest) -> None:
    """Fields that the manager set before and does not set now go away, as in server-side apply."""
    for key, value in before.items():
        if key not in after:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(after[key], dict) and isinstance(target.get(key), dict):
            _remove(target[key], value, after[key])

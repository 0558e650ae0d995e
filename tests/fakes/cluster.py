"""An API server of our own port: server-side apply, uids, graceful deletes, generations.

Its behaviour is held to the real one by tests/contract/test_cluster_port.py, which runs on both.
"""

import copy
import itertools
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from llama_operator.adapters.kube import check_owner
from llama_operator.adapters.node_capacity import capacity_of
from llama_operator.adapters.reservations import Reservations
from llama_operator.adapters.seen_events import seen_events
from llama_operator.api import ADAPTERS_KIND, API_VERSION, KIND, WEIGHTS_KIND
from llama_operator.ports import (
    Capacity,
    Key,
    KubeEvent,
    Manifest,
    Owner,
    PodRequest,
    Quota,
    Ref,
    Rejected,
    SeenEvent,
)
from llama_operator.reconcile import Bodies
from llama_serving.config import names
from llama_serving.config.source import parse
from tests.fakes.edge import EdgeFake

START = datetime(2026, 1, 1, tzinfo=UTC)


def _let_through(_: str) -> None:
    """No call is refused."""


def _take(_: Manifest) -> str:
    """No object is refused."""
    return ""


class FakeCluster(EdgeFake):
    """One namespace. ``faults[k]`` is raised instead of the k-th call (from 0) when it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.shared: dict[tuple[str, str], dict[str, list[Manifest]]] = {}  # object -> manager -> its owner references
        self.events: list[KubeEvent] = []
        self.given: dict[tuple[str, str], Manifest] = {}  # what users made for pods to mount
        self.recorded: list[Manifest] = []  # events of others, as core/v1 shows them
        self.calls: list[str] = []
        self.writes: list[str] = []
        self.intercept: Callable[[str], None] = _let_through  # raises what a call is to raise
        self.faults: dict[int, BaseException] = {}
        self.late_faults: dict[int, BaseException] = {}  # the call is done, its answer is lost
        self.refusals: dict[str, str] = {}  # kind -> what the API server says to an object that is sent on trial
        self.admission: Callable[[Manifest], str] = _take  # what it says to a new object; empty: nothing against it
        self.listed: Callable[[], tuple[Quota, ...]] = tuple  # the ResourceQuotas
        self.nodes: list[Manifest] | None = None  # None: the operator may not list them
        self.foreign: list[Manifest] = []  # pods of other namespaces
        self.now = START
        self.seen: Capacity | None = None  # by the watches
        self.blind = False  # the watches show nothing new
        self.reservations = Reservations(self._seconds)
        self.versions: Iterator[int] | None = None  # None: objects have no resourceVersion, so no write is remembered
        self._uids = itertools.count(1)

    # -- the port ---------------------------------------------------------------------------------------------------

    async def apply(self, key: Key, manifest: Manifest, *, force: bool, manager: str = "") -> str:
        what = f"apply {manifest['kind']} {manifest['metadata']['name']}"
        if manager:
            self.call(what, lambda: self._apply_shared(key, manifest, manager))
        else:
            self.call(what, lambda: self._apply(key, manifest, force))
        return self._version((manifest["kind"], manifest["metadata"]["name"]))

    async def try_apply(self, key: Key, manifest: Manifest) -> None:
        what = f"try {manifest['kind']} {manifest['metadata']['name']}"
        self.call(what, lambda: self._try(manifest), write=False)

    async def ensure(self, key: Key, manifest: Manifest) -> None:
        known = self.objects.get((manifest["kind"], manifest["metadata"]["name"]))

        def create() -> None:
            if known is None:
                self._apply(key, manifest, True)
            else:
                check_owner(known, manifest)

        self.call(f"ensure {manifest['kind']} {manifest['metadata']['name']}", create, write=known is None)

    async def release(self, key: Key, ref: Ref, *, manager: str) -> None:
        self.call(f"release {ref.kind} {ref.name}", lambda: self._release(ref, manager))

    async def delete(self, key: Key, ref: Ref, *, grace: int | None = None) -> None:
        self.call(f"delete {ref.kind} {ref.name}", lambda: self._delete(ref, grace))

    async def set_rotation(
        self, key: Key, pod: Ref, *, open_: bool, reason: str, weights: str, move: bool = False
    ) -> str:
        self.call(
            f"rotation {pod.name} {open_}", lambda: self._rotate(pod, open_, reason=reason, weights=weights, move=move)
        )
        return self._version(("Pod", pod.name))

    async def set_pod_metadata(
        self, key: Key, pod: Ref, *, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]
    ) -> str:
        self.call(f"metadata {pod.name}", lambda: self._relabel(pod, labels, annotations))
        return self._version(("Pod", pod.name))

    async def ensure_token(self, key: Key, manifest: Manifest) -> str:
        name = ("Secret", manifest["metadata"]["name"])
        known = self.objects.get(name)

        def create() -> None:
            if known is None:
                self._apply(key, {**manifest, "stringData": {"token": f"token-{len(self.calls)}"}}, True)
            else:
                check_owner(known, manifest)

        self.call(f"token {name[1]}", create, write=known is None)
        token: str = self.objects[name]["stringData"]["token"]
        return token

    async def write_status(self, key: Key, status: Manifest, *, kind: str = KIND) -> str:
        def write() -> None:
            found = self.objects.get((kind, key.name))
            if found is not None:
                found["status"] = clone(status)

        self.call(f"status {key.name}", write)
        return self._version((kind, key.name))

    async def record_event(self, owner: Owner, event: KubeEvent) -> None:
        self.call(f"event {event.reason}", lambda: self.events.append(event))

    async def capacity(self) -> Capacity | None:
        self.call("capacity", lambda: None, write=False)
        if self.nodes is None:
            return None
        if self.seen is None or not self.blind:
            self.seen = self._capacity(self.nodes)
        return self.reservations.over(self.seen)

    def reserve(self, pods: Iterable[PodRequest]) -> None:
        self.reservations.add(pods)

    def unreserve(self, uids: Collection[str]) -> None:
        self.reservations.drop(uids)

    async def events_about(self, key: Key, about: Ref) -> tuple[SeenEvent, ...]:
        found = [one for one in self.recorded if about.uid and one["involvedObject"]["uid"] == about.uid]
        self.call(f"events {about.name}", lambda: None, write=False)
        return seen_events(found)

    async def look_up(self, key: Key, ref: Ref) -> Manifest | None:
        self.call(f"look up {ref.kind} {ref.name}", lambda: None, write=False)
        name = (ref.kind, ref.name)
        found: Manifest | None = clone(self.objects.get(name) or self.given.get(name))
        if found is not None and ref.kind in ("Secret", "ConfigMap"):
            return {"kind": "PartialObjectMetadata", "metadata": found["metadata"]}
        return found

    async def config_map_data(self, key: Key, name: str) -> Mapping[str, str] | None:
        self.call(f"read ConfigMap {name}", lambda: None, write=False)
        found = self.objects.get(("ConfigMap", name)) or self.given.get(("ConfigMap", name))
        return None if found is None else dict(found.get("data") or {})

    async def quotas(self, key: Key) -> tuple[Quota, ...]:
        self.call("quotas", lambda: None, write=False)
        return self.listed()

    async def admit(self, key: Key, pod: Ref, *, at: datetime) -> str:
        self.call(f"admit {pod.name}", lambda: self._admit(pod, at))
        return self._version(("Pod", pod.name))

    # -- the user and the cluster's controllers ---------------------------------------------------------------------

    def create_deployment(self, key: Key, spec: Manifest) -> None:
        """``kubectl create`` of a LlamaDeployment, after the claim that its source names."""
        if spec["model"]["source"].startswith("pvc://"):
            claim = parse(spec["model"]["source"]).host
            self.give("PersistentVolumeClaim", claim, status={"phase": "Bound"})
        meta = {"name": key.name, "namespace": key.namespace, "generation": 1, **self._born()}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": copy.deepcopy(spec)}
        self.objects[KIND, key.name] = body

    def give(self, kind: str, name: str, **fields: Any) -> None:
        """``kubectl create`` of an object that pods are to mount."""
        self.given[kind, name] = {"kind": kind, "metadata": {"name": name, "uid": f"uid-of-{name}"}, **fields}

    def edit(self, key: Key, change: Callable[[Manifest], object]) -> None:
        """``kubectl edit`` of the spec."""
        body = self.objects[KIND, key.name]
        change(body["spec"])
        body["metadata"]["generation"] += 1

    def bodies(self, key: Key) -> Bodies:
        """What the watches would hold now."""
        children = [body for (kind, _), body in self.objects.items() if kind not in (KIND, "Secret")]
        mine = [child for child in children if is_watched(child, key)]
        weights = [body for (kind, _), body in self.objects.items() if kind == WEIGHTS_KIND]
        resolved = {names.LABEL_WEIGHTS, names.LABEL_ADAPTER}
        labelled = [body for body in children if resolved & (body["metadata"].get("labels") or {}).keys()]
        adapters = [body for (kind, _), body in self.objects.items() if kind == ADAPTERS_KIND]
        manifests = [body for body in labelled if body["kind"] == "ConfigMap"]
        return Bodies(*clone((self.objects[KIND, key.name], mine, weights, manifests, adapters)))

    def record(self, about: Manifest, reason: str, message: str, *, kind: str = "Warning") -> None:
        """What the kubelet, or a controller, records about an object."""
        meta = about["metadata"]
        involved = {"kind": about["kind"], "name": meta["name"], "uid": meta["uid"]}
        moment = stamp(self.now)
        self.recorded.append(
            {"involvedObject": involved, "type": kind, "reason": reason, "message": message, "lastTimestamp": moment}
        )

    def pods(self) -> list[Manifest]:
        return [self.objects[name] for name in sorted(name for name in self.objects if name[0] == "Pod")]

    def vanish(self, kind: str, name: str) -> None:
        """The object is gone, without a farewell."""
        self.objects.pop((kind, name), None)
        self.applied.pop((kind, name), None)

    def _version(self, name: tuple[str, str]) -> str:
        """Give an object another version, where the world has versions; this API server does not skip equal writes."""
        body = self.objects.get(name)
        if self.versions is None or body is None:
            return ""
        version = body["metadata"]["resourceVersion"] = str(next(self.versions))
        return version

    def _seconds(self) -> float:
        return self.now.timestamp()

    # -- inside -----------------------------------------------------------------------------------------------------

    def call(self, what: str, action: Callable[[], None], *, write: bool = True) -> None:
        """One call of the port, by its name; ``intercept`` may raise before it counts as made."""
        self.intercept(what)
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
            if said := self.admission(manifest):
                raise Rejected(said)
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

    def _apply_shared(self, key: Key, manifest: Manifest, manager: str) -> None:
        name = (manifest["kind"], manifest["metadata"]["name"])
        if name not in self.objects:
            self._apply(key, manifest, True)
        self.shared.setdefault(name, {})[manager] = clone(manifest["metadata"]["ownerReferences"])
        self._own(name)

    def _release(self, ref: Ref, manager: str) -> None:
        name = (ref.kind, ref.name)
        body = self.objects.get(name)
        if body is None or (ref.uid and body["metadata"]["uid"] != ref.uid):
            return
        self.shared.get(name, {}).pop(manager, None)
        self._own(name)
        if not body["metadata"]["ownerReferences"]:
            self.vanish(*name)
            self.vanish("ConfigMap", f"{ref.name}-manifest")

    def _own(self, name: tuple[str, str]) -> None:
        owners = [owner for held in self.shared.get(name, {}).values() for owner in held]
        self.objects[name]["metadata"]["ownerReferences"] = owners

    def _try(self, manifest: Manifest) -> None:
        if said := self.refusals.get(manifest["kind"]) or self.admission(manifest):
            raise Rejected(said)

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

    def _capacity(self, nodes: list[Manifest]) -> Capacity:
        return capacity_of(nodes, [*self.pods(), *self.foreign])

    def _admit(self, pod: Ref, at: datetime) -> None:
        body = self.objects.get(("Pod", pod.name))
        if body is None or body["metadata"]["uid"] != pod.uid:
            return
        gates = body["spec"].get("schedulingGates", ())
        body["spec"]["schedulingGates"] = [gate for gate in gates if gate["name"] != names.GATE_GROUP]
        body["metadata"].setdefault("annotations", {})[names.ANNOTATION_ADMITTED] = stamp(at)

    def _rotate(self, pod: Ref, open_: bool, *, reason: str, weights: str, move: bool) -> None:
        body = self.objects.get(("Pod", pod.name))
        if body is None or body["metadata"]["uid"] != pod.uid:
            return
        notes = body["metadata"].setdefault("annotations", {})
        if weights:
            notes[names.ANNOTATION_WEIGHTS] = weights
        if open_:
            notes.pop(names.ANNOTATION_MOVE_STREAMS, None)
        if move:
            notes[names.ANNOTATION_MOVE_STREAMS] = "true"
            return
        set_condition(body, names.GATE_IN_ROTATION, open_, message=reason, at=self.now)

    def _relabel(self, pod: Ref, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]) -> None:
        body = self.objects.get(("Pod", pod.name))
        if body is None or body["metadata"]["uid"] != pod.uid:
            return
        for section, changes in (("labels", labels), ("annotations", annotations)):
            merged = {**body["metadata"].get(section, {}), **changes}
            body["metadata"][section] = {key: value for key, value in merged.items() if value is not None}


def set_condition(
    body: Manifest, kind: str, value: bool, *, message: str = "", at: datetime | None = None, reason: str = ""
) -> None:
    """Set a condition in an object's status; its time changes with its value only."""
    conditions = body.setdefault("status", {}).setdefault("conditions", [])
    status = "True" if value else "False"
    before: Manifest = next((one for one in conditions if (one["type"], one["status"]) == (kind, status)), {})
    conditions[:] = [item for item in conditions if item["type"] != kind]
    moment = {"lastTransitionTime": before.get("lastTransitionTime", stamp(at))} if at else {}
    said = {"reason": reason} if reason else {}
    conditions.append({"type": kind, "status": status, "message": message, **moment, **said})


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


def _conflicts(existing: Any, last: Any, wanted: Manifest, *, path: str = "") -> list[str]:
    """Fields that we want otherwise than somebody else has set them."""
    found: list[str] = []
    for key, value in wanted.items():
        there, before = existing.get(key), last.get(key) if isinstance(last, dict) else None
        if isinstance(value, dict) and isinstance(there, dict):
            found += _conflicts(there, before or {}, value, path=f"{path}.{key}")
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

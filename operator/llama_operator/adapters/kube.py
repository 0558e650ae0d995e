"""The API server: every call of a pass, each with a deadline.

Capacity is not asked for but watched (cluster_view.py). Objects are written by server-side apply under one field
manager, so that a field that is no longer set disappears and a field that others set stays. Paths are computed, not
discovered: the operator knows the kinds that it makes.
"""

import base64
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from kubernetes.aio import client, config

from llama_operator.adapters.access_watch import AccessWatch
from llama_operator.adapters.api_calls import JSON, ApiCalls, Call, Fence, unfenced
from llama_operator.adapters.cluster_view import ClusterView
from llama_operator.adapters.known_tokens import KnownTokens
from llama_operator.adapters.reservations import Reservations
from llama_operator.adapters.seen_events import seen_events
from llama_operator.api import ADAPTERS_KIND, ADAPTERS_PLURAL, API_VERSION, KIND, PLURAL, WEIGHTS_KIND, WEIGHTS_PLURAL
from llama_operator.hashing import short_hash
from llama_operator.observe.quotas import quota_views
from llama_operator.ports import (
    EVENTS,
    AccessSecrets,
    Capacity,
    Key,
    KubeEvent,
    Manifest,
    Owner,
    PodRequest,
    Quota,
    Ref,
    Rejected,
    Retry,
    SeenEvent,
)
from llama_serving.config import names
from llama_serving.config.reasons import RotationReason

MANAGER = "llama-operator"

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#: Of these only the metadata are read when they are looked up.
_UNREAD = frozenset({"Secret", "ConfigMap"})

_PLURALS = {
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Event": "events",
    "Job": "jobs",
    "HTTPRoute": "httproutes",
    "Ingress": "ingresses",
    "NetworkPolicy": "networkpolicies",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ResourceClaimTemplate": "resourceclaimtemplates",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    KIND: PLURAL,
    WEIGHTS_KIND: WEIGHTS_PLURAL,
    ADAPTERS_KIND: ADAPTERS_PLURAL,
}


async def connect() -> client.ApiClient:
    """Make a client from the pod's service account or, outside a cluster, from KUBECONFIG."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return client.ApiClient(configuration)


def _nobody(_: str) -> None:
    """Tell nobody of a namespace whose keys have changed."""


class KubeCluster:
    """The port ``Cluster`` on a real API server. As a context it ends its watches.

    ``keys_changed`` gets the namespace whose Secrets with keys have changed.
    """

    def __init__(
        self, api: client.ApiClient, *, fence: Fence = unfenced, keys_changed: Callable[[str], None] = _nobody
    ) -> None:
        self._calls = ApiCalls(api, fence=fence)
        self._access = AccessWatch(self._calls, keys_changed)
        self._view = ClusterView(self._calls)
        self._reservations = Reservations(time.monotonic)
        self._tokens = KnownTokens(time.monotonic)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._view.close()
        await self._access.close()

    async def apply(self, key: Key, manifest: Manifest, *, force: bool, manager: str = "") -> str:
        """Apply on the server side; with ``force`` fields that somebody else changed are taken over."""
        ref = Ref(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])
        query = {"fieldManager": manager or MANAGER, "force": "true" if force else "false"}
        return _version(await self._call("PATCH", path_of(key, ref), body=manifest, content=APPLY, query=query))

    async def try_apply(self, key: Key, manifest: Manifest) -> None:
        """Apply on trial: admission and validation run, nothing is stored."""
        ref = Ref(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])
        query = {"fieldManager": MANAGER, "force": "true", "dryRun": "All"}
        await self._call("PATCH", path_of(key, ref), body=manifest, content=APPLY, query=query)

    async def ensure(self, key: Key, manifest: Manifest) -> None:
        """Create the object unless it is there. One that belongs to another owner is refused."""
        path = path_of(key, Ref(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]))
        known = await self._call("GET", path, fine=(404,))
        if known is not None:
            check_owner(known, manifest)
            return
        await self._call("POST", path.rpartition("/")[0], body=manifest)

    async def release(self, key: Key, ref: Ref, *, manager: str) -> None:
        """Take back what ``manager`` applied, or delete the object where that was all; a change between is a Retry."""
        path = path_of(key, ref)
        known = await self._call("GET", path, fine=(404,))
        if known is None or (ref.uid and known["metadata"]["uid"] != ref.uid):
            return
        meta = known["metadata"]
        moment = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        if is_last_owner(known, manager):
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": moment}
            await self._call("DELETE", path, body=options, fine=(404,))
            return
        bare = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": {"name": ref.name, **moment}}
        query = {"fieldManager": manager, "force": "true"}
        await self._call("PATCH", path, body=bare, content=APPLY, query=query, fine=(404,))

    async def delete(self, key: Key, ref: Ref, *, grace: int | None = None) -> None:
        """Delete exactly this object; gone, or replaced by another of the same name, is success."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        await self._call("DELETE", path_of(key, ref), body=options, fine=(404, 409))

    async def set_rotation(
        self, key: Key, pod: Ref, *, open_: bool, reason: str, weights: str, move: bool = False
    ) -> str:
        """Write annotation and gate at once, so that a gateway that sees the pod ready knows its weights.

        pods/status takes annotations too. Two writes would also be two syncs of the kubelet, and each waits for the
        next look at the containers, a second later. A gate that is to be left by streams too stays closed as it is:
        the time since when it is must not move.

        A pod that is gone, or another one by now (409: its uid differs), has no rotation to be set.
        """
        path = path_of(key, pod)
        notes: dict[str, str | None] = {names.ANNOTATION_WEIGHTS: weights} if weights else {}
        if open_ or move:
            notes[names.ANNOTATION_MOVE_STREAMS] = "true" if move else None
        meta = {"uid": pod.uid, "annotations": notes}
        if move:
            return _version(await self._call("PATCH", path, body={"metadata": meta}, content=MERGE, fine=(404, 409)))
        condition = {
            "type": names.GATE_IN_ROTATION,
            "status": "True" if open_ else "False",
            "reason": RotationReason.IN_ROTATION if open_ else RotationReason.OUT_OF_ROTATION,
            "message": reason,
            "lastTransitionTime": _now(),
        }
        patch = {"metadata": meta, "status": {"conditions": [condition]}}
        return _version(await self._call("PATCH", f"{path}/status", body=patch, content=STRATEGIC, fine=(404, 409)))

    async def set_pod_metadata(
        self, key: Key, pod: Ref, *, labels: Mapping[str, str | None], annotations: Mapping[str, str | None]
    ) -> str:
        """Merge labels and annotations into the pod; 404 and 409 are a pod that is gone, or of another uid."""
        meta = {"uid": pod.uid, "labels": dict(labels), "annotations": dict(annotations)}
        return _version(
            await self._call("PATCH", path_of(key, pod), body={"metadata": meta}, content=MERGE, fine=(404, 409))
        )

    async def ensure_token(self, key: Key, manifest: Manifest) -> str:
        """Find the Secret by its name, or create it: the operator has no right to list Secrets."""
        if fresh := self._tokens.find(key, manifest):
            return fresh
        ref = Ref("v1", "Secret", manifest["metadata"]["name"])
        path = path_of(key, ref)
        known = await self._call("GET", path, fine=(404,))
        if known is not None:
            check_owner(known, manifest)
            found = base64.b64decode(known.get("data", {}).get("token", "")).decode("ascii", "replace")
            return self._tokens.keep(key, manifest, found) if found else ""
        token = secrets.token_hex(32)
        made = await self._call("POST", path.rpartition("/")[0], body={**manifest, "stringData": {"token": token}})
        return self._tokens.keep(key, manifest, token) if made is not None else ""

    async def write_status(self, key: Key, status: Manifest, *, kind: str = KIND) -> str:
        """Apply the status alone, on the server side."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": key.name}, "status": status}
        path = path_of(key, Ref(API_VERSION, kind, key.name)) + "/status"
        query = {"fieldManager": MANAGER, "force": "true"}
        return _version(await self._call("PATCH", path, body=body, content=APPLY, query=query, fine=(404,)))

    async def record_event(self, owner: Owner, event: KubeEvent) -> None:
        """Record one event per reason and message: its name is computed from them, a repetition counts up."""
        name = f"{owner.key.name}.{short_hash([owner.uid, event.reason, event.message])}"
        path = path_of(owner.key, Ref("v1", "Event", name))
        known = await self._call("GET", path, fine=(404,))
        if known is None:
            await self._call("POST", path.rpartition("/")[0], body=event_body(owner, event, name), fine=(409,))
            return
        again = {"count": known.get("count", 1) + 1, "lastTimestamp": _now()}
        await self._call("PATCH", path, body=again, content=MERGE, fine=(404,))

    async def capacity(self) -> Capacity | None:
        """Return the view of the cluster, with what was reserved since."""
        seen = await self._view.capacity()
        return None if seen is None else self._reservations.over(seen)

    def reserve(self, pods: Iterable[PodRequest]) -> None:
        """Count these pods as waiting for the scheduler from now on."""
        self._reservations.add(pods)

    def unreserve(self, uids: Collection[str]) -> None:
        """Count the pods with these uids as the view shows them."""
        self._reservations.drop(uids)

    async def events_about(self, key: Key, about: Ref) -> tuple[SeenEvent, ...]:
        """List them by a field selector: the uid, so that an earlier object of the same name is left out."""
        if not about.uid:
            return ()
        path = path_of(key, Ref("v1", "Event", "")).rstrip("/")
        query = {"fieldSelector": f"involvedObject.uid={about.uid}", "limit": str(5 * EVENTS)}
        found = await self._call("GET", path, query=query)
        return seen_events((found or {}).get("items") or ())

    async def look_up(self, key: Key, ref: Ref) -> Manifest | None:
        """Get the object, of a Secret or a ConfigMap its metadata."""
        accept = METADATA if ref.kind in _UNREAD else JSON
        return await self._call("GET", path_of(key, ref), accept=accept, fine=(404,))

    async def config_map_data(self, key: Key, name: str) -> Mapping[str, str] | None:
        """Get the object; binary data are no texts."""
        found = await self._call("GET", path_of(key, Ref("v1", "ConfigMap", name)), fine=(404,))
        return None if found is None else found.get("data") or {}

    async def access_secrets(self, key: Key) -> AccessSecrets:
        """Return what the watch of the namespace shows; the first who asks begins it."""
        return await self._access.secrets(key.namespace)

    async def has_kind(self, api_version: str, kind: str) -> bool:
        """Look it up in the resources of its group and version."""
        found = await self._call("GET", f"/apis/{api_version}", fine=(404,))
        return any(one.get("kind") == kind for one in (found or {}).get("resources") or ())

    async def quotas(self, key: Key) -> tuple[Quota, ...]:
        """List them without a watch: they are asked for before a rollout only."""
        found = await self._call("GET", f"/api/v1/namespaces/{key.namespace}/resourcequotas")
        return quota_views((found or {}).get("items") or ())

    async def admit(self, key: Key, pod: Ref, *, at: datetime) -> str:
        """Take our gate out of the list by a strategic merge, whatever else is in it; 409 is a pod of another uid."""
        gates = [{"$patch": "delete", "name": names.GATE_GROUP}]
        meta = {"uid": pod.uid, "annotations": {names.ANNOTATION_ADMITTED: _stamp(at)}}
        patch = {"metadata": meta, "spec": {"schedulingGates": gates}}
        return _version(await self._call("PATCH", path_of(key, pod), body=patch, content=STRATEGIC, fine=(404, 409)))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        content: str = JSON,
        accept: str = JSON,
        query: dict[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> Manifest | None:
        """Send one request; None for an answer that ``fine`` lists. Raises Retry or Rejected."""
        written = "" if method == "GET" else path.partition("/namespaces/")[2].partition("/")[0]
        call = Call(body=body, content=content, accept=accept, query=query or {}, fine=fine, namespace=written)
        return await self._calls.send(method, path, call)


def _version(answer: Manifest | None) -> str:
    """Return the resourceVersion of the object in an answer; empty where there is none."""
    return str(((answer or {}).get("metadata") or {}).get("resourceVersion") or "")


def check_owner(known: Manifest, wanted: Manifest) -> None:
    """Raise unless the known object belongs to us: Retry for one of an earlier object, Rejected for a foreign one."""
    mine = {owner["uid"] for owner in wanted["metadata"].get("ownerReferences", ())}
    theirs = {owner["uid"] for owner in known["metadata"].get("ownerReferences", ())}
    if theirs and not mine & theirs:
        raise Retry("it still belongs to an earlier object, which the garbage collector deletes")
    if not mine <= theirs:
        raise Rejected("it exists and belongs to nobody; delete it, or rename the LlamaDeployment")


def is_last_owner(known: Manifest, manager: str) -> bool:
    """Tell whether an object of ours has no owner but the one whose uid ends the manager's name."""
    owners = known["metadata"].get("ownerReferences") or ()
    ours = (known["metadata"].get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
    return ours and all(manager.endswith(owner["uid"]) for owner in owners)


def path_of(key: Key, ref: Ref) -> str:
    """Build the path of a namespaced object."""
    root = "/api/v1" if ref.api_version == "v1" else f"/apis/{ref.api_version}"
    return f"{root}/namespaces/{key.namespace}/{_PLURALS[ref.kind]}/{ref.name}"


def event_body(owner: Owner, event: KubeEvent, name: str) -> Manifest:
    """Make a core/v1 event about a LlamaDeployment or a LlamaWeights."""
    moment = _now()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": owner.key.namespace},
        "involvedObject": {
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.key.name,
            "namespace": owner.key.namespace,
            "uid": owner.uid,
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": event.message[:1024],
        "source": {"component": MANAGER},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

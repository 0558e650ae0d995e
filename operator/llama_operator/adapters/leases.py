"""Leases of coordination.k8s.io, and what the operator may watch: the calls that come before any pass."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from kubernetes.aio import client

from llama_operator.adapters.api_calls import ApiCalls, Call, items_of
from llama_operator.api import ADAPTERS_PLURAL, API_VERSION, PLURAL, WEIGHTS_PLURAL
from llama_operator.ports import Forbidden, Lease, Manifest, Obstacles, Rejected, Retry
from llama_operator.scopes import sentences

NAME: Final = "llama-operator"  # of the lease in each namespace
OF_THE_VIEW: Final = frozenset({"pods"})  # may be seen everywhere with the chart's rbac.clusterView


class KubeLeases:
    """The port ``Leases`` on a real API server.

    ``role`` names the Role that gives the operator its rights in each namespace: a lease goes with the Role of its
    holder, which cannot write any more then. Empty where the rights are those of a ClusterRole.
    """

    def __init__(self, api: client.ApiClient, *, role: str = "") -> None:
        self._calls = ApiCalls(api)
        self._role = role
        self._owners: dict[str, list[Manifest]] = {}  # by namespace

    async def read(self, namespace: str) -> Lease | None:
        """Read it."""
        found = await self._calls.send("GET", _path(namespace), Call(fine=(404,)))
        return None if found is None else lease_of(found)

    async def write(self, namespace: str, lease: Lease) -> Lease:
        """Create it, or replace just the version that was read: another one is a conflict, which is a Retry."""
        if namespace not in self._owners:
            self._owners[namespace] = await self._owner(namespace)
        body = lease_body(lease, datetime.now(UTC), owners=self._owners[namespace])
        if lease.version:
            made = await self._calls.send("PUT", _path(namespace), Call(body=body))
        else:
            made = await self._calls.send("POST", _path(namespace).rpartition("/")[0], Call(body=body))
        return lease_of(made or {})

    async def _owner(self, namespace: str) -> list[Manifest]:
        if not self._role:
            return []
        path = _collection(namespace, "rbac.authorization.k8s.io/v1", "roles")
        found = await self._calls.send("GET", path, Call(query={"fieldSelector": f"metadata.name={self._role}"}))
        owner = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "name": self._role}
        return [{**owner, "uid": one["metadata"]["uid"]} for one in items_of(found)]

    async def changed(self, namespace: str, lease: Lease, *, seconds: float) -> None:
        """Wait for the first event after the version that was read."""
        query = {"fieldSelector": f"metadata.name={NAME}", "resourceVersion": lease.version}
        path, begun = _path(namespace).rpartition("/")[0], asyncio.get_running_loop().time()
        async with aclosing(self._calls.watch(path, query, seconds=seconds)) as events:
            async for event in events:
                if event["type"] != "BOOKMARK":
                    return
        ended_early = asyncio.get_running_loop().time() - begun < min(1.0, seconds)
        if ended_early:  # a server that ends watches at once is not asked without a pause
            await asyncio.sleep(min(1.0, seconds))


class KubeScopes:
    """The port ``Scopes`` on a real API server."""

    def __init__(self, api: client.ApiClient) -> None:
        self._calls = ApiCalls(api)

    async def obstacles(self, namespace: str, kinds: Sequence[tuple[str, str]]) -> Obstacles:
        """Ask for one object of each kind: what is answered tells of CRDs, rights and the namespace."""
        asked = [self._obstacle(plural, _collection(namespace, version, plural)) for version, plural in kinds]
        found = await asyncio.gather(*asked)
        absent = sorted(_named(*kind) for said, kind in zip(found, kinds, strict=True) if said is None)
        refused = tuple(said for said in found if said)
        allowed = {plural for said, (_, plural) in zip(found, kinds, strict=True) if said == ""}
        if namespace and refused and allowed <= OF_THE_VIEW:
            return Obstacles((sentences.namespace_closed(namespace, said=refused[0]),), closed=True)
        if namespace and (said := await self._obstacle("leases", _path(namespace))):
            refused += (said,)
        return Obstacles(((sentences.crds_missing(absent),) if absent else ()) + refused)

    async def objects(self, namespace: str) -> Sequence[Manifest]:
        """List all kinds of ours."""
        found: list[Manifest] = []
        for plural in (PLURAL, WEIGHTS_PLURAL, ADAPTERS_PLURAL):
            with contextlib.suppress(Rejected):
                listed = await self._calls.send("GET", _collection(namespace, API_VERSION, plural))
                found += items_of(listed)
        return found

    async def _obstacle(self, plural: str, path: str) -> str | None:
        """Say why a kind cannot be read; None for 404, empty where it can."""
        try:
            return "" if await self._calls.send("GET", path, Call(query={"limit": "1"}, fine=(404,))) else None
        except Forbidden as error:
            return sentences.right_missing(plural, said=str(error))


def lease_of(body: Manifest) -> Lease:
    """Read a stored lease. Raises Retry for what is none."""
    spec, version = body.get("spec") or {}, (body.get("metadata") or {}).get("resourceVersion")
    if not version:
        raise Retry("the API server answers with no lease")
    return Lease(
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or 1),
        version=version,
        transitions=spec.get("leaseTransitions") or 0,
    )


def lease_body(lease: Lease, now: datetime, *, owners: Sequence[Manifest]) -> Manifest:
    """Render a lease, renewed now."""
    version = {"resourceVersion": lease.version} if lease.version else {}
    moment = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "ownerReferences": list(owners), **version},
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": round(lease.seconds),
            "leaseTransitions": lease.transitions,
            "renewTime": moment,
        },
    }


def _named(version: str, plural: str) -> str:
    """Return the name of a CRD."""
    return f"{plural}.{version.partition('/')[0]}"


def _path(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}"


def _collection(namespace: str, version: str, plural: str) -> str:
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"

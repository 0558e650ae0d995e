"""Adds to a snapshot what no kopf watch shows: Secrets with keys, and what leads to the gateways from outside.

Only where the spec asks for it, or the status says that there was some: any other deployment costs no call.
"""

from dataclasses import replace

from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.exposure import HTTP_ROUTE, KINDS, ExposureView
from llama_operator.observe.kubernetes import owned_by
from llama_operator.plan.edge.exposure import wanted_kinds
from llama_operator.plan.explain import gateways_ready, gateways_settled
from llama_operator.plan.naming import gateway_name
from llama_operator.ports import Cluster, Manifest, Ref, Rejected, Retry, RulesSecret
from llama_serving.config.access.rules import access_secret


async def with_edge(seen: Snapshot, cluster: Cluster, *, access_fault: str = "") -> Snapshot:
    """Return the snapshot with both. ``access_fault``: why rules were not written. Raises Retry of the ways in."""
    if seen.spec is None or seen.deleting:
        return seen
    return await _with_exposure(await _with_access(replace(seen, access_fault=access_fault), cluster), cluster)


async def _with_access(seen: Snapshot, cluster: Cluster) -> Snapshot:
    if seen.spec is None or (seen.spec.access is None and seen.status.access is None):
        return seen
    try:
        seen = replace(seen, access=await cluster.access_secrets(seen.key))
    except Retry as error:  # the rest of the pass goes on
        return replace(seen, access_fault=str(error))
    if not _is_over(seen):
        return seen
    # No gateway reads it any more: as a child that nothing wants it is deleted.
    found = seen.access.rules[access_secret(seen.key.name)] if seen.access else None
    return replace(seen, children=(*seen.children, _as_child(found))) if found else seen


def _is_over(seen: Snapshot) -> bool:
    """Return whether the rules are left of a field that was removed, and no gateway goes by them any more.

    An earlier pass has reported that the field is gone, so it has written the gateways anew.
    """
    if seen.spec is None or seen.spec.access is not None or not seen.has_access_rules:
        return False
    reported = seen.status.access is not None and not seen.status.access.mode
    _, asked = gateways_ready(seen)
    return reported and asked > 0 and gateways_settled(seen) >= asked


def _as_child(secret: RulesSecret) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret.name, "uid": secret.uid}}


async def _with_exposure(seen: Snapshot, cluster: Cluster) -> Snapshot:
    wanted = wanted_kinds(seen.spec) if seen.spec else frozenset[str]()
    view = ExposureView()
    for kind in sorted(wanted | (set(seen.status.exposed) & KINDS.keys())):
        try:
            found = await cluster.look_up(seen.key, Ref(KINDS[kind], kind, gateway_name(seen.key.name)))
            if found is None and kind == HTTP_ROUTE and not await cluster.has_kind(KINDS[kind], kind):
                view = replace(view, missing=view.missing | {kind})
        except Rejected as error:
            view = replace(view, denied={**view.denied, kind: str(error)})
            continue
        if found is not None and owned_by(found, seen.uid):
            seen = replace(seen, children=(*seen.children, {**found, "apiVersion": KINDS[kind], "kind": kind}))
            view = replace(view, there=view.there | {kind})
        elif found is not None:
            seen = replace(seen, foreign=seen.foreign | {(kind, found["metadata"]["name"])})
    return replace(seen, exposure=view)

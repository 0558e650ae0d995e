"""What has to be written so that the cluster is as the plan wants it: nothing, when it already is.

An object of ours is written when a field that we set differs from what was observed, whoever changed it. Fields that
the API server or others add are theirs. A field that we no longer set changes the digest annotation, so that the
server-side apply, which removes it, happens. Pods are written once: their fields cannot be changed afterwards.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llama_operator.api import API_VERSION, WEIGHTS_KIND
from llama_operator.api.crdgen.quantity import parse
from llama_operator.hashing import short_hash
from llama_operator.manifests.claims import stage_claim
from llama_operator.manifests.common import Context
from llama_operator.manifests.gateway import deployment_objects
from llama_operator.manifests.group import group_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.manifests.weights import weights_due, weights_object
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.groups.weights_lookup import weights_of
from llama_operator.plan.placement.claims import KIND as CLAIM
from llama_operator.plan.placement.claims import claim_for, kept_claims
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation, Reason
from llama_operator.ports import Manifest, Ref
from llama_serving.config import names

_AMOUNTS = frozenset({"requests", "limits"})


@dataclass(frozen=True)
class Write:
    """An object to apply. Only one that was seen to be ours may be taken over by ``force``."""

    manifest: Manifest
    force: bool
    manager: str = ""  # of an object that several deployments share; empty is the operator's own


@dataclass(frozen=True)
class Changes:
    """Objects to apply, in order, objects to delete, and what stands in the way."""

    claims: tuple[Manifest, ...] = ()  # made unless they are there, never changed
    applies: tuple[Write, ...] = ()
    prunes: tuple[Ref, ...] = ()
    releases: tuple[Ref, ...] = ()  # shared objects that are let go of
    holds: tuple[Explanation, ...] = ()


def changes(plan: Plan, world: Snapshot, context: Context) -> Changes:
    """Compare what the plan wants with what was observed."""
    wanted = deployment_objects(context)
    for item in plan.groups:
        wanted += group_objects(replace(context, spec=item.spec), item.group, item.serve)
    seen = {identity(child): child for child in world.children}
    marked = [with_digest(manifest) for manifest in wanted]
    applies = [manifest for manifest in marked if not covers(seen.get(identity(manifest)), manifest)]
    specs = {item.group: item.spec for item in plan.groups}
    mounts = {item: claim_for(item, context.spec, world) for item in plan.creates}
    contexts = {item: replace(context, spec=specs[item.group]) for item in plan.creates}
    pods = [stage_pod(contexts[item], item, claim=claim) for item, claim in mounts.items()]
    template = context.spec.staging.volume_claim_template
    claims = [stage_claim(context, item, template) for item, claim in mounts.items() if claim and template]
    writes = [Write(manifest, identity(manifest) in seen) for manifest in applies + pods]
    free = tuple(write for write in writes if identity(write.manifest) not in world.strangers)
    taken = tuple(_taken(write.manifest) for write in writes if write not in free)
    keep = {identity(manifest) for manifest in wanted}
    keep |= {(CLAIM, name) for name in kept_claims(world, context.spec)}
    kept_groups = {group.name for group in plan.keep}
    here = (child for child in world.children if child["metadata"]["name"] not in kept_groups)
    prunes = left_over(here, keep)
    made = tuple(claim for claim in claims if identity(claim) not in seen)
    return Changes(made, _weights(plan, world, context) + free, prunes, _releases(plan), taken)


def manager_of(uid: str) -> str:
    """Field manager under which a deployment is an owner of shared objects."""
    return f"{names.MANAGED_BY}.{uid}"


def _weights(plan: Plan, world: Snapshot, context: Context) -> tuple[Write, ...]:
    due = (model for model in plan.weights if weights_due(context, model, weights_of(world.weights, model)))
    return tuple(Write(weights_object(context, model), True, manager_of(context.uid)) for model in due)


def _releases(plan: Plan) -> tuple[Ref, ...]:
    return tuple(Ref(API_VERSION, WEIGHTS_KIND, view.name, view.uid) for view in plan.releases)


def covers(observed: Any, wanted: Any) -> bool:
    """Whether everything in ``wanted`` stands in ``observed``; observed may have more fields, not more list items.

    The API server drops empty lists and maps, so nothing is as good as an empty one.
    """
    if observed == wanted or (observed is None and wanted in ({}, [])):
        return True
    if isinstance(wanted, dict):
        return isinstance(observed, dict) and all(
            (_same_amounts if key in _AMOUNTS else covers)(observed.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(observed, list)
            and len(observed) == len(wanted)
            and all(covers(one, other) for one, other in zip(observed, wanted, strict=True))
        )
    return False


def _same_amounts(observed: Any, wanted: dict[str, str]) -> bool:
    """The API server writes quantities in its own way: ``0.5`` comes back as ``500m``."""
    return isinstance(observed, dict) and all(
        key in observed and parse(str(observed[key])) == parse(value) for key, value in wanted.items()
    )


def with_digest(manifest: Manifest) -> Manifest:
    """The object with a digest of itself among its annotations."""
    meta = manifest["metadata"]
    annotations = {**meta.get("annotations", {}), names.ANNOTATION_DIGEST: short_hash(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def identity(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name; all children live in one namespace."""
    return manifest["kind"], manifest["metadata"]["name"]


def left_over(children: Iterable[Manifest], keep: Container[tuple[str, str]]) -> tuple[Ref, ...]:
    """Objects of ours, by kind and name, that nothing wants any more and that are not on their way out."""
    return tuple(
        Ref(child["apiVersion"], child["kind"], child["metadata"]["name"], child["metadata"].get("uid", ""))
        for child in children
        if identity(child) not in keep and "deletionTimestamp" not in child["metadata"]
    )


def _taken(manifest: Manifest) -> Explanation:
    kind, name = identity(manifest)
    detail = (
        f"{kind} {name} has our labels but another owner, such as an earlier LlamaDeployment of this name: "
        "it is made when the garbage collector, or somebody, has deleted that one"
    )
    return Explanation(Reason.API_RETRY, detail)

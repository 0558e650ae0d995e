"""What has to be written so that the cluster is as the plan wants it: nothing, when it already is.

Everything that the plan wants is rendered and compared with what was observed (diff.py). Pods and claims are written
once: their fields cannot be changed afterwards, but for the labels and annotations of users (pod_metadata.py).
LlamaWeights are shared: each deployment applies them under a field manager of its own, and releases what it does not
need any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_operator.api import API_VERSION, WEIGHTS_KIND
from llama_operator.manifests.claims import stage_claim
from llama_operator.manifests.common import Context
from llama_operator.manifests.deployment import deployment_objects, pod_secrets
from llama_operator.manifests.diff import covers, identity, left_over, with_digest
from llama_operator.manifests.group import group_objects
from llama_operator.manifests.pod_metadata import Relabel, relabels
from llama_operator.manifests.rehearsal import rehearsal_config_map, rehearsal_pods
from llama_operator.manifests.stage import stage_pod
from llama_operator.manifests.walls.engine_key import of_group
from llama_operator.manifests.walls.fetch import fetch_objects, fetches_by_proxy
from llama_operator.manifests.weights import weights_due, weights_object
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.placement.claims import KIND as CLAIM
from llama_operator.plan.placement.claims import claim_for, kept_claims
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.ports import Manifest, Ref
from llama_serving.config import names
from llama_serving.config.reasons import Reason

#: A gateway ends with its LlamaDeployment, by its owner reference: the operator has no right to delete one.
_NEVER_PRUNED: Final = frozenset({"Deployment"})


@dataclass(frozen=True)
class Write:
    """An object to apply. Only one that was seen to be ours may be taken over by ``force``."""

    manifest: Manifest
    force: bool
    manager: str = ""  # of an object that several deployments share; empty is the operator's own


@dataclass(frozen=True)
class Changes:
    """Objects to apply, in order, objects to delete, and what stands in the way."""

    relabels: tuple[Relabel, ...] = ()  # stage pods that run
    claims: tuple[Manifest, ...] = ()  # made unless they are there, never changed
    secrets: tuple[Manifest, ...] = ()  # with a key that is drawn where they are made, for pods that are to be written
    applies: tuple[Write, ...] = ()
    prunes: tuple[Ref, ...] = ()
    releases: tuple[Ref, ...] = ()  # shared objects that are let go of
    explanations: tuple[Explanation, ...] = ()

    @property
    def count(self) -> int:
        """Objects that are not as the plan wants them."""
        return len(self.relabels) + len(self.claims) + len(self.applies) + len(self.prunes) + len(self.releases)


def changes(plan: Plan, state: PlanState, context: Context) -> Changes:
    """Compare what the plan wants with what was observed."""
    snapshot = state.snapshot
    seen = {identity(child): child for child in snapshot.children}
    wanted = [with_digest(manifest) for manifest in _wanted(plan, state, context)]
    mounts = {item: claim_for(item, context.spec, snapshot) for item in plan.actions.creates}
    due = [manifest for manifest in wanted if not covers(seen.get(identity(manifest)), manifest)]
    pods = _pods(plan, mounts, context) + _rehearsal_pods(plan, state, context)
    writes = [Write(manifest, identity(manifest) in seen) for manifest in due + pods]
    blocked = {**snapshot.left_out, **dict.fromkeys(snapshot.foreign, "")}
    free = tuple(write for write in writes if identity(write.manifest) not in blocked)
    foreign = tuple(_blocked(write.manifest, blocked) for write in writes if write not in free)
    return Changes(
        relabels=relabels(snapshot.stages, context.spec.pod_template),
        claims=tuple(claim for claim in _claims(mounts, context) if identity(claim) not in seen),
        secrets=_secrets(plan, free, context),
        applies=_weights(plan, state, context) + free,
        prunes=_prunes(plan, state, wanted),
        releases=tuple(Ref(API_VERSION, WEIGHTS_KIND, view.name, view.uid) for view in plan.releases),
        explanations=foreign,
    )


def manager_of(uid: str) -> str:
    """Return the field manager under which a deployment is an owner of shared objects."""
    return f"{names.MANAGED_BY}.{uid}"


def _wanted(plan: Plan, state: PlanState, context: Context) -> list[Manifest]:
    wanted = deployment_objects(context, stages=_fewest_stages(plan, state))
    if _wants_proxy(plan, context):
        wanted += fetch_objects(context)
    for item in plan.actions.groups:
        wanted += group_objects(of_group(context, item.spec), item.group, item.serve)
    if plan.rehearsal:
        wanted.append(rehearsal_config_map(of_group(context, plan.rehearsal.template.spec), plan.rehearsal))
    return wanted


def _wants_proxy(plan: Plan, context: Context) -> bool:
    """Return whether the spec or a group of an earlier one fetches through the proxy."""
    return any(fetches_by_proxy(spec) for spec in (context.spec, *(item.spec for item in plan.actions.groups)))


def _fewest_stages(plan: Plan, state: PlanState) -> int | None:
    """Count the stages of the smallest group that is wanted, or is there; those of a held edit do not count."""
    wanted = [item.spec.sharding.pipeline for item in plan.actions.groups]
    return min(wanted or [len(group.pods) for group in state.groups], default=None)


def _rehearsal_pods(plan: Plan, state: PlanState, context: Context) -> list[Manifest]:
    """Return the pods of the rehearsal that are not there."""
    if plan.rehearsal is None:
        return []
    there = {one.pod.name for one in state.snapshot.rehearsal.pods}
    pods = rehearsal_pods(of_group(context, plan.rehearsal.template.spec), plan.rehearsal)
    return [pod for pod in pods if pod["metadata"]["name"] not in there]


def _pods(plan: Plan, mounts: Mapping[CreateStage, str], context: Context) -> list[Manifest]:
    specs = {item.group: item.spec for item in plan.actions.groups}
    contexts = {item: of_group(context, specs[item.group]) for item in mounts}
    return [stage_pod(contexts[item], item, claim=claim) for item, claim in mounts.items()]


def _secrets(plan: Plan, writes: tuple[Write, ...], context: Context) -> tuple[Manifest, ...]:
    """Return what the pods mount that are to be written, so that a pass that writes none asks for none."""
    if not any(write.manifest["kind"] in ("Pod", "Deployment") for write in writes):
        return ()
    return tuple(pod_secrets(context, proxy=_wants_proxy(plan, context)))


def _claims(mounts: Mapping[CreateStage, str], context: Context) -> list[Manifest]:
    template = context.spec.staging.volume_claim_template
    return [stage_claim(context, item, template) for item, claim in mounts.items() if claim and template]


def _prunes(plan: Plan, state: PlanState, wanted: list[Manifest]) -> tuple[Ref, ...]:
    keep = {identity(manifest) for manifest in wanted}
    keep |= {(CLAIM, name) for name in kept_claims(state.snapshot, state.spec)}
    kept_groups = {group.name for group in plan.actions.keep}
    children = (
        child
        for child in state.snapshot.children
        if child["metadata"]["name"] not in kept_groups and child["kind"] not in _NEVER_PRUNED
    )
    return left_over(children, keep)


def _weights(plan: Plan, state: PlanState, context: Context) -> tuple[Write, ...]:
    due = (model for model in plan.models if weights_due(context, model, state.weights_of(model)))
    return tuple(Write(weights_object(context, model), True, manager_of(context.uid)) for model in due)


def _blocked(manifest: Manifest, blocked: Mapping[tuple[str, str], str]) -> Explanation:
    """Say why an object is not written: it belongs to another object, or it is shown without its content."""
    kind, name = identity(manifest)
    if why := blocked[kind, name]:
        return Explanation(Reason.API_RETRY, sentences.object_left_out(kind, name, why=why))
    return Explanation(Reason.API_RETRY, sentences.object_of_another(kind, name))

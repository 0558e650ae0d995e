"""One pass of one LlamaWeights: observe, plan, apply, report. Nothing is remembered between two of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from llama_operator.api import API_VERSION, WEIGHTS_KIND, LlamaWeightsSpec
from llama_operator.apply import Outcome, node_capacities, write_report
from llama_operator.manifests.diff import covers, identity, left_over, with_digest
from llama_operator.manifests.resolver import WeightsContext, manifest_config_map, resolver_job, resolver_objects
from llama_operator.observe.weights import WeightsSnapshot, weights_snapshot
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.settings import Settings
from llama_operator.plan.weights.resolve import WeightsPlan, plan_weights
from llama_operator.ports import Cluster, Manifest, Owner
from llama_operator.status.events import weights_events
from llama_operator.status.weights import weights_status

Body = Mapping[str, Any]


@dataclass(frozen=True)
class WeightsBodies:
    """A LlamaWeights and its children, as the watches saw them last."""

    weights: Body
    children: Sequence[Body]


async def reconcile_weights(bodies: WeightsBodies, *, cluster: Cluster, settings: Settings, now: datetime) -> float:
    """Run one pass; returns the seconds until the next one is due without an event."""
    world = await _with_capacity(weights_snapshot(bodies.weights, bodies.children), cluster)
    if world.deleting:
        return 30.0  # owner references remove everything; the deletion is an event
    decided = plan_weights(world, settings, now)
    outcome = Outcome()
    if world.spec:
        await _act(decided, world, world.spec, settings, cluster, outcome)
    await _report(decided, world, tuple(outcome.problems), cluster, now)
    return outcome.pause(decided.recheck)


async def _with_capacity(world: WeightsSnapshot, cluster: Cluster) -> WeightsSnapshot:
    if not any(job.pod and job.pod.unscheduled for job in world.jobs):
        return world
    return replace(world, nodes=await node_capacities(cluster))


async def _act(
    decided: WeightsPlan,
    world: WeightsSnapshot,
    spec: LlamaWeightsSpec,
    settings: Settings,
    cluster: Cluster,
    outcome: Outcome,
) -> None:
    """What the Job needs first, then the Job: one without its rights would look in vain."""
    context = WeightsContext(world.key, world.uid, spec, settings)
    wanted = [manifest_config_map(context)] if decided.settled else resolver_objects(context)
    seen = {identity(child): child for child in world.children}
    for manifest in map(with_digest, wanted):
        if not covers(seen.get(identity(manifest)), manifest):
            await _apply(manifest, world, cluster, outcome, force=identity(manifest) in seen)
    if decided.start and not outcome.problems:
        await _apply(resolver_job(context, decided.start), world, cluster, outcome, force=False)
    for ref in (*decided.deletes, *left_over(world.children, {identity(manifest) for manifest in wanted})):
        await outcome.attempt(f"the delete of {ref.kind} {ref.name}", cluster.delete(world.key, ref))


async def _apply(
    manifest: Manifest, world: WeightsSnapshot, cluster: Cluster, outcome: Outcome, *, force: bool
) -> None:
    kind, name = identity(manifest)
    await outcome.attempt(f"{kind} {name}", cluster.apply(world.key, manifest, force=force))


async def _report(
    decided: WeightsPlan, world: WeightsSnapshot, problems: tuple[Explanation, ...], cluster: Cluster, now: datetime
) -> None:
    status = weights_status(world, decided, problems, now)
    if status == world.status:
        return
    owner = Owner(world.key, world.uid, API_VERSION, WEIGHTS_KIND)
    await write_report(owner, status.to_api(), weights_events(world.status, status), cluster)

"""One pass, in the order that a reader expects: observe, plan, apply, report.

Every pass is a full pass. Nothing is remembered between two of them but what autoscaling has seen of the load
(scalestore.py) and, where the gateways are read every second, what cells at rest have said lately (asking.py).

A new number of groups is written to the status before anything is done by it, so that an operator that is killed in
between has decided nothing that nobody knows.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llama_operator.api import API_VERSION, KIND, LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.apply import Outcome, apply, room_on_nodes, write_report
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.gang_admission import admit_groups
from llama_operator.manifests.common import Context
from llama_operator.manifests.diff import changes, identity
from llama_operator.observe.deployment import PodView, Snapshot, owned_by, pod_views, stored_spec
from llama_operator.observe.weights import weights_views
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.reasons import Explanation, Reason
from llama_operator.plan.settings import Settings
from llama_operator.ports import Cluster, Gateways, Key, Owner, SupervisorAnswer, Supervisors
from llama_operator.status.deployment import notices, report
from llama_operator.supervisor_cache import SupervisorCache
from llama_serving.config import names

log = logging.getLogger(__name__)

Body = Mapping[str, Any]

#: Reasons of a deployment that waits for nothing.
AT_REST = (Reason.SERVING, Reason.SCALED_TO_ZERO)


@dataclass(frozen=True)
class Bodies:
    """A LlamaDeployment and its children, as the watches saw them last."""

    deployment: Body
    children: Sequence[Body]
    weights: Sequence[Body] = ()  # all LlamaWeights of the namespace
    manifests: Sequence[Body] = ()  # ConfigMaps with their manifests, labelled with names.LABEL_WEIGHTS


@dataclass(frozen=True)
class Edges:
    """What a pass talks to."""

    cluster: Cluster
    cells: Supervisors
    gateways: Gateways
    room: asyncio.Lock = field(default_factory=asyncio.Lock)  # one loop at a time gives groups their room
    scales: AutoscalerRegistry = field(default_factory=AutoscalerRegistry)
    asking: dict[str, SupervisorCache] = field(default_factory=dict)  # by uid of the deployment


async def reconcile(bodies: Bodies, *, edges: Edges, settings: Settings, now: datetime) -> float:
    """Run one pass; returns the seconds until the next one is due without an event."""
    world = await _observe(bodies, edges, now)
    if world.deleting:
        edges.scales.keep(world.key, world.uid, None, now)
        edges.asking.pop(world.uid, None)
        return 30.0  # owner references remove everything; the deletion is an event
    decided = plan(world, settings, now, edges.scales.recall(world.uid))
    if decided.scaling and decided.scaling.decided:
        world = await _report(decided, world, (), edges.cluster, now)
    edges.scales.keep(world.key, world.uid, decided.scaling, now)
    outcome = await _act(decided, world, settings, edges)
    await admit_groups(
        decided.admissions, key=world.key, cluster=edges.cluster, lock=edges.room, outcome=outcome, now=now
    )
    await _report(decided, world, tuple(outcome.problems), edges.cluster, now)
    return outcome.pause(decided.recheck)


async def _observe(bodies: Bodies, edges: Edges, now: datetime) -> Snapshot:
    world = snapshot(bodies)
    running = [pod for pod in world.stages if pod.ip and pod.alive]
    serving = [pod for pod in world.gateways if pod.ip and not pod.finished]
    asking = edges.asking.setdefault(world.uid, SupervisorCache())
    answers, loads = await asyncio.gather(
        asking.ask(running, edges.cells, rest=_rests(world), now=now),
        asyncio.gather(*(edges.gateways.load(pod.ip) for pod in serving)),
    )
    named = {pod.name: _heard(pod, answer, world) for pod, answer in zip(running, answers, strict=True)}
    heard = {pod.name: load for pod, load in zip(serving, loads, strict=True)}
    rooms = await room_on_nodes(edges.cluster) if _needs_rooms(world) else None
    return replace(world, cells=named, loads=heard, rooms=rooms)


def _rests(world: Snapshot) -> bool:
    """The gateways are read often, and nothing else needs to be."""
    scales = world.spec is not None and world.spec.autoscaling is not None
    seen = world.status.observed_generation == world.generation
    return scales and seen and world.status.reason in AT_REST


def _needs_rooms(world: Snapshot) -> bool:
    """A pod has no home or is leaving one, or a change may need room for a group more."""
    if any(pod.unscheduled or pod.gone_by for pod in world.pods):
        return True
    rollout = world.status.rollout
    waiting = rollout is not None and rollout.phase == "RollingOut" and not rollout.preview.strategy
    return waiting or world.status.observed_generation != world.generation or world.status.reason not in AT_REST


def _heard(pod: PodView, answer: SupervisorAnswer, world: Snapshot) -> SupervisorAnswer:
    """An address is given to another pod soon after its own has gone: what that one says is not this one's word."""
    state = answer.state
    if state is None:
        return answer
    said = (state.deployment, state.group, state.stage, state.pod_hash)
    if said == (world.key.name, pod.group, pod.stage, pod.pod_hash):
        return answer
    return SupervisorAnswer(
        None, f"at its address answers stage {state.stage} of group {state.group} of {state.deployment}"
    )


def snapshot(bodies: Bodies) -> Snapshot:
    """What the watches show, before cells and nodes are asked."""
    meta = bodies.deployment["metadata"]
    uid = meta.get("uid", "")
    ours = [child for child in bodies.children if _is_ours(child, uid)]
    pods = [child for child in ours if child["kind"] == "Pod"]
    others = [dict(child) for child in ours if child["kind"] != "Pod"]
    spec, error = stored_spec(LlamaDeploymentSpec, bodies.deployment, remedy="edit the object")
    return Snapshot(
        key=Key(meta["namespace"], meta["name"]),
        uid=uid,
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        spec=spec,
        spec_error=error,
        status=_status(bodies.deployment),
        pods=pod_views(pods),
        children=tuple(sorted(others, key=identity)),
        strangers=frozenset(identity(child) for child in bodies.children if not _is_ours(child, uid)),
        weights=weights_views(bodies.weights, bodies.manifests),
    )


def _is_ours(child: Body, uid: str) -> bool:
    """Labels are copied easily; what we may change or delete names this very object as its owner.

    Another uid is that of an earlier LlamaDeployment of the same name, whose children are still being collected.
    Gateway pods belong to their ReplicaSet, and are only looked at.
    """
    meta = child["metadata"]
    if (meta.get("labels") or {}).get(names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY and child.get("kind") == "Pod":
        return True
    return owned_by(child, uid)


def _status(deployment: Body) -> LlamaDeploymentStatus:
    try:
        return LlamaDeploymentStatus.model_validate(deployment.get("status") or {})
    except ValidationError:
        log.warning("the status of %s was written in another form; it is made anew", deployment["metadata"]["name"])
        return LlamaDeploymentStatus()


async def _act(decided: Plan, world: Snapshot, settings: Settings, edges: Edges) -> Outcome:
    if world.spec is None:
        return Outcome()
    # The budget against evictions follows the number of groups that was decided.
    spec = world.spec.model_copy(update={"replicas": decided.replicas})
    context = Context(world.key, world.uid, spec, settings)
    return await apply(decided, changes(decided, world, context), context, edges.cluster, edges.cells)


async def _report(
    decided: Plan, world: Snapshot, problems: tuple[Explanation, ...], cluster: Cluster, now: datetime
) -> Snapshot:
    """Write the status, if it says something else than before; returns the snapshot with it."""
    status = report(world, decided, problems, now)
    if status != world.status:
        owner = Owner(world.key, world.uid, API_VERSION, KIND)
        await write_report(owner, status.to_api(), notices(world.status, status), cluster)
    return replace(world, status=status)

"""One pass, in the order that a reader expects: observe, plan, apply, report.

Every pass is a full pass. Nothing is remembered between two of them but what autoscaling has seen of the load
(autoscaler_registry.py), what metrics show (metrics/), what was asked about pods that wait (inquiry/), what was written
and the watches do not show yet (own_writes.py) and, where the gateways are read every second, what supervisors at rest
have answered lately (supervisor_cache.py).

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

from llama_operator.api import API_VERSION, CPU, KIND, LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.apply import Outcome, apply
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.capacity import cluster_capacity
from llama_operator.edge.access_pass import AccessFaults
from llama_operator.edge.observed import with_edge
from llama_operator.gang_admission import admit_groups
from llama_operator.inquiry.chat_template import with_chat_template
from llama_operator.inquiry.pod_inquiry import Inquiries, inquiry_of
from llama_operator.inquiry.wall_probe import WallProbe
from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.manifests.diff import identity
from llama_operator.manifests.rehearsal import rehearsal_pods, trial_objects
from llama_operator.manifests.walls.engine_key import of_group
from llama_operator.metrics.registry import DeploymentRegistry
from llama_operator.observe.adapters import adapter_views
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.kubernetes import owned_by, stored_spec
from llama_operator.observe.pods import PodView, pod_views
from llama_operator.observe.rehearsal import AdmissionAnswer, RehearsalView, rehearsed_pods
from llama_operator.observe.weights import weights_views
from llama_operator.own_writes import OwnWrites, once
from llama_operator.plan.adapters.steps import served_models
from llama_operator.plan.edge.exposure import writable_kinds
from llama_operator.plan.groups.state import PlanState, plan_state
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.rollout.decision import is_undecided
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.plan.settings import Settings
from llama_operator.ports import LEFT_OUT, Cluster, Gateways, Key, Owner, SupervisorAnswer, Supervisors
from llama_operator.rehearsal_admission import ask_admission
from llama_operator.report import write_report
from llama_operator.status.deployment import deployment_status
from llama_operator.status.events import deployment_events
from llama_operator.supervisor_cache import SupervisorCache
from llama_serving.config import names
from llama_serving.config.reasons import Reason

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
    manifests: Sequence[Body] = ()  # ConfigMaps with their manifests: labels LABEL_WEIGHTS, LABEL_ADAPTER
    adapters: Sequence[Body] = ()  # all LlamaAdapters of the namespace


@dataclass(frozen=True)
class Edges:
    """What a pass talks to, and what the process keeps between passes."""

    cluster: Cluster
    supervisors: Supervisors
    gateways: Gateways
    autoscalers: AutoscalerRegistry = field(default_factory=AutoscalerRegistry)
    supervisor_caches: dict[str, SupervisorCache] = field(default_factory=dict)  # by uid of the deployment
    admission_answers: dict[str, AdmissionAnswer] = field(default_factory=dict)  # to rehearsals, by uid as well
    inquiries: Inquiries = field(default_factory=dict)  # by uid of a deployment or of weights
    wall_probes: dict[str, WallProbe] = field(default_factory=dict)  # by uid of the deployment
    access_faults: AccessFaults = field(default_factory=AccessFaults)
    deployments: DeploymentRegistry = field(default_factory=DeploymentRegistry)
    own_writes: dict[str, OwnWrites] = field(default_factory=dict)  # by uid of a deployment or of weights

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone: its metrics vanish with it."""
        self.autoscalers.forget(uid)
        self.supervisor_caches.pop(uid, None)
        self.admission_answers.pop(uid, None)
        self.inquiries.pop(uid, None)
        self.own_writes.pop(uid, None)
        self.wall_probes.pop(uid, None)
        self.access_faults.forget(uid)
        self.deployments.forget(uid)


async def reconcile(bodies: Bodies, *, edges: Edges, settings: Settings, now: datetime) -> float:
    """Run one pass; return the seconds until the next one is due without an event."""
    own = edges.own_writes.setdefault(bodies.deployment["metadata"].get("uid", ""), OwnWrites())
    own.begin((bodies.deployment, *bodies.children, *bodies.weights), now)
    edges = replace(edges, cluster=once(edges.cluster, own))
    state = plan_state(await _observe(bodies, edges, now), settings, now)
    key, uid = state.snapshot.key, state.snapshot.uid
    if state.snapshot.deleting:
        edges.forget(uid)
        return 30.0  # owner references remove everything; the deletion is an event
    decided = plan(state, edges.autoscalers.memory(uid))
    if decided.scaling and decided.scaling.decided:
        state = await _report(decided, state, Outcome(), cluster=edges.cluster)
    edges.autoscalers.keep(key, uid, result=decided.scaling, now=now)
    outcome = await _act(decided, state, edges)
    await admit_groups(decided.actions.admissions, key=key, cluster=edges.cluster, outcome=outcome, now=now)
    state = await _report(decided, state, outcome, cluster=edges.cluster)
    edges.deployments.keep(state.snapshot, wanted=decided.replicas, problems=outcome.problems)
    return outcome.pause(decided.recheck)


async def _observe(bodies: Bodies, edges: Edges, now: datetime) -> Snapshot:
    seen = await with_chat_template(_with_own_status(snapshot(bodies), edges), edges.cluster)
    seen = await with_edge(seen, edges.cluster, access_fault=edges.access_faults.of(seen.uid))
    running = [pod for pod in seen.stages if pod.ip and pod.alive]
    serving = [pod for pod in seen.gateways if pod.ip and not pod.finished]
    cache = edges.supervisor_caches.setdefault(seen.uid, SupervisorCache())
    inquiry = inquiry_of(edges.inquiries, seen.uid)
    start = edges.autoscalers.memory(seen.uid).next_serves
    walls = edges.wall_probes.setdefault(seen.uid, WallProbe())
    pods, answers, loads, trial = await asyncio.gather(
        inquiry.of_pods(seen.pods, key=seen.key, cluster=edges.cluster, now=now),
        cache.ask(running, edges.supervisors, rest=_is_at_rest(seen), now=now),
        asyncio.gather(*(edges.gateways.load(pod.ip, start=start) for pod in serving)),
        walls.try_one(seen, edges.supervisors, now),
    )
    cells = {pod.name: _own_answer(pod, answer, seen) for pod, answer in zip(running, answers, strict=True)}
    capacity = await cluster_capacity(edges.cluster) if _needs_capacity(seen) else None
    heard = {pod.name: load for pod, load in zip(serving, loads, strict=True)}
    rehearsal = seen.rehearsal.with_pods(pods, admission=edges.admission_answers.get(seen.uid))
    return replace(
        seen, pods=pods, cells=cells, loads=heard, capacity=capacity, rehearsal=rehearsal, policy_trial=trial
    )


def _with_own_status(seen: Snapshot, edges: Edges) -> Snapshot:
    """Return the snapshot with the status that was written last, where the watches do not show it yet."""
    own = edges.own_writes.get(seen.uid)
    written = own.status(KIND, seen.key.name) if own else None
    return seen if written is None else replace(seen, status=LlamaDeploymentStatus.model_validate(written))


def _is_at_rest(seen: Snapshot) -> bool:
    """Return whether the gateways are read often, and nothing else needs to be."""
    scales = seen.spec is not None and seen.spec.autoscaling is not None
    return scales and seen.status.observed_generation == seen.generation and seen.status.reason in AT_REST


def _needs_capacity(seen: Snapshot) -> bool:
    """Return whether a pod has no node or leaves one, or a change may need capacity for one more group."""
    if any(pod.unscheduled or pod.gone_by for pod in seen.pods):
        return True
    if seen.spec is not None and seen.spec.device.resource != CPU:
        return True  # a group that is made is kept from nodes with bad devices
    rollout = seen.status.rollout
    waiting = rollout is not None and is_undecided(rollout)
    return waiting or seen.status.observed_generation != seen.generation or seen.status.reason not in AT_REST


def _own_answer(pod: PodView, answer: SupervisorAnswer, seen: Snapshot) -> SupervisorAnswer:
    """Drop the answer of another pod: an address is given to another one soon after its own has gone."""
    state = answer.state
    if state is None:
        return answer
    said = (state.deployment, state.group, state.stage, state.pod_hash)
    if said == (seen.key.name, pod.group, pod.stage, pod.pod_hash):
        return answer
    return SupervisorAnswer(
        None, sentences.another_stage_answers(stage=state.stage, group=state.group, deployment=state.deployment)
    )


def snapshot(bodies: Bodies) -> Snapshot:
    """Return what the watches show, before supervisors and nodes are asked."""
    meta = bodies.deployment["metadata"]
    uid = meta.get("uid", "")
    ours = [child for child in bodies.children if _is_ours(child, uid)]
    shown = [child for child in ours if LEFT_OUT not in child]
    pods = [child for child in shown if child["kind"] == "Pod"]
    others = [dict(child) for child in shown if child["kind"] != "Pod"]
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
        foreign=frozenset(identity(child) for child in bodies.children if not _is_ours(child, uid)),
        left_out={identity(child): str(child[LEFT_OUT]) for child in ours if LEFT_OUT in child},
        weights=weights_views(bodies.weights, bodies.manifests),
        adapters=adapter_views(bodies.adapters, bodies.manifests),
        rehearsal=RehearsalView(pods=rehearsed_pods(pods)),
    )


def _is_ours(child: Body, uid: str) -> bool:
    """Return whether a child names this very object as its owner: labels are copied easily.

    Another uid is that of an earlier LlamaDeployment of the same name, whose children are still being collected.
    Gateway pods belong to their ReplicaSet, and are only read.
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


async def _act(decided: Plan, state: PlanState, edges: Edges) -> Outcome:
    snapshot = state.snapshot
    if snapshot.spec is None:
        return Outcome()
    # The budget against evictions follows the number of groups that was decided.
    spec = snapshot.spec.model_copy(update={"replicas": decided.replicas})
    models = served_models(state, base=spec.model.name_in_api(snapshot.key.name))
    exposed = writable_kinds(spec, state)
    context = Context(snapshot.key, snapshot.uid, spec, state.settings, models, exposed)
    due = changes(decided, state, context)
    await _rehearse(decided, state, context, edges=edges)
    return await apply(decided, due, context, cluster=edges.cluster, supervisors=edges.supervisors)


async def _rehearse(decided: Plan, state: PlanState, context: Context, *, edges: Edges) -> None:
    """Ask the API server whether it would take a new group, where a rollout waits for that.

    The last answer stays: a pass that sees an older status must come to the same decision.
    """
    rehearsal, answers, uid = decided.rehearsal, edges.admission_answers, state.snapshot.uid
    if rehearsal and rehearsal.ask_admission:
        wanted = of_group(context, rehearsal.template.spec)
        answers[uid] = await ask_admission(
            [*trial_objects(wanted, rehearsal), *rehearsal_pods(wanted, rehearsal)[:1]],
            key=context.key,
            rehearsal=rehearsal.key,
            before=answers.get(uid),
            cluster=edges.cluster,
            now=state.now,
        )


async def _report(decided: Plan, state: PlanState, outcome: Outcome, *, cluster: Cluster) -> PlanState:
    """Write the status, if it says something else than before; return the state with it."""
    status = deployment_status(state, decided, tuple(outcome.problems), writes=outcome.writes)
    before = state.snapshot.status
    if status != before:
        owner = Owner(state.snapshot.key, state.snapshot.uid, API_VERSION, KIND)
        await write_report(owner, status.to_api(), deployment_events(before, status), cluster=cluster)
    return replace(state, snapshot=replace(state.snapshot, status=status))

"""One pass of one LlamaWeights, or LlamaAdapter: observe, plan, apply, report.

Nothing is remembered between two of them but what was asked about a pod that waits (inquiry/), and what was written and
the watches do not show yet (own_writes.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from llama_operator.api import API_VERSION, WEIGHTS_KIND
from llama_operator.apply import Outcome
from llama_operator.capacity import cluster_capacity
from llama_operator.inquiry.pod_inquiry import Inquiries, Question, inquiry_of, job_question, pod_question
from llama_operator.manifests.diff import covers, identity, left_over, with_digest
from llama_operator.manifests.resolver import WeightsContext, manifest_config_map, resolver_job, resolver_objects
from llama_operator.observe.findings import Findings
from llama_operator.observe.weights import JobView, WeightsSnapshot, is_permitted, weights_snapshot
from llama_operator.own_writes import OwnWrites, once
from llama_operator.plan.sentences import weights as sentences
from llama_operator.plan.settings import Settings
from llama_operator.plan.weights.permission import why_denied
from llama_operator.plan.weights.resolve import WeightsPlan, plan_weights
from llama_operator.ports import Cluster, Manifest, Owner, Ref, Rejected, Retry
from llama_operator.report import write_report
from llama_operator.status.events import weights_events
from llama_operator.status.weights import weights_status
from llama_serving.config.reasons import Reason

Body = Mapping[str, Any]


@dataclass(frozen=True)
class WeightsBodies:
    """A LlamaWeights or a LlamaAdapter and its children, as the watches saw them last."""

    weights: Body
    children: Sequence[Body]


async def reconcile_weights(
    bodies: WeightsBodies,
    *,
    cluster: Cluster,
    settings: Settings,
    now: datetime,
    inquiries: Inquiries | None = None,
    own_writes: dict[str, OwnWrites] | None = None,
) -> float:
    """Run one pass; return the seconds until the next one is due without an event.

    ``inquiries`` and ``own_writes`` are kept between passes, by uid; without them every pass asks and writes anew.
    """
    inquiries = {} if inquiries is None else inquiries
    own = OwnWrites() if own_writes is None else own_writes.setdefault(bodies.weights["metadata"]["uid"], OwnWrites())
    own.begin((bodies.weights, *bodies.children), now)
    cluster = once(cluster, own)
    snapshot = await _with_capacity(_observed(bodies, own), cluster)
    if snapshot.deleting:
        inquiries.pop(snapshot.uid, None)
        return 30.0  # owner references remove everything; the deletion is an event
    snapshot = await _with_findings(snapshot, inquiries, cluster=cluster, now=now)
    snapshot = await _with_permission(snapshot, settings, cluster)
    decided = plan_weights(snapshot, settings, now)
    outcome = Outcome()
    if snapshot.spec:
        context = WeightsContext(snapshot.key, snapshot.uid, snapshot.spec, settings, snapshot.kind)
        await _act(decided, _WeightsWalk(snapshot, context, cluster, outcome))
    status = weights_status(snapshot, decided, tuple(outcome.problems), now=now)
    if status != snapshot.status:
        owner = Owner(snapshot.key, snapshot.uid, API_VERSION, snapshot.kind)
        await write_report(owner, status.to_api(), weights_events(snapshot.status, status), cluster=cluster)
    return outcome.pause(decided.recheck)


def _observed(bodies: WeightsBodies, own: OwnWrites) -> WeightsSnapshot:
    """Return what the watches show, with the status that was written last."""
    body = bodies.weights
    written = own.status(body.get("kind", WEIGHTS_KIND), body["metadata"]["name"])
    return weights_snapshot(body if written is None else {**body, "status": written}, bodies.children)


async def _with_capacity(snapshot: WeightsSnapshot, cluster: Cluster) -> WeightsSnapshot:
    if not any(job.pod and job.pod.unscheduled for job in snapshot.jobs):
        return snapshot
    return replace(snapshot, capacity=await cluster_capacity(cluster))


async def _with_permission(snapshot: WeightsSnapshot, settings: Settings, cluster: Cluster) -> WeightsSnapshot:
    """Find out whether the Secret may be sent to the source; asked until it may, then never again."""
    spec = snapshot.spec
    if spec is None or is_permitted(spec, snapshot.status):
        return snapshot
    secret = spec.credentials_secret
    try:
        body = await cluster.look_up(snapshot.key, Ref("v1", "Secret", secret))
    except (Rejected, Retry) as error:  # nothing is sent before it is known
        said = sentences.secret_not_looked_up(secret, said=str(error))
        return replace(snapshot, denied=(Reason.SECRET_NOT_ALLOWED, said))
    metadata = None if body is None else body.get("metadata") or {}
    return replace(snapshot, denied=why_denied(snapshot, metadata, label_required=settings.label_required))


async def _with_findings(
    snapshot: WeightsSnapshot, inquiries: Inquiries, *, cluster: Cluster, now: datetime
) -> WeightsSnapshot:
    """Ask about Jobs that wait: about the pod, or about the Job where it has none."""
    questions = tuple(question for job in snapshot.jobs if (question := _question(job, now)))
    inquiry = inquiry_of(inquiries, snapshot.uid)
    found = await inquiry.ask(questions, key=snapshot.key, cluster=cluster, now=now)
    return replace(snapshot, jobs=tuple(_told(job, found) for job in snapshot.jobs))


def _question(job: JobView, now: datetime) -> Question | None:
    if job.finished or job.leaving:
        return None
    return pod_question(job.pod, now) if job.pod else job_question(job.name, job.uid, created=job.created, now=now)


def _told(job: JobView, found: Mapping[str, Findings]) -> JobView:
    """Return the Job with what was found about it and its pod."""
    pod = job.pod
    if pod and pod.uid in found:
        return replace(job, pod=replace(pod, findings=found[pod.uid]))
    return replace(job, findings=found[job.uid]) if job.uid in found else job


@dataclass(frozen=True)
class _WeightsWalk:
    snapshot: WeightsSnapshot
    context: WeightsContext
    cluster: Cluster
    outcome: Outcome

    async def apply(self, manifest: Manifest, *, force: bool) -> None:
        kind, name = identity(manifest)
        call = self.cluster.apply(self.snapshot.key, manifest, force=force)
        await self.outcome.attempt(f"{kind} {name}", call)

    async def delete(self, ref: Ref) -> None:
        call = self.cluster.delete(self.snapshot.key, ref)
        await self.outcome.attempt(f"the delete of {ref.kind} {ref.name}", call)


async def _act(decided: WeightsPlan, walk: _WeightsWalk) -> None:
    """Write what the Job needs first, then the Job: without its rights it could not store what it found."""
    context, children = walk.context, walk.snapshot.children
    wanted = [manifest_config_map(context)] if decided.settled else resolver_objects(context)
    seen = {identity(child): child for child in children}
    for manifest in map(with_digest, wanted):
        if not covers(seen.get(identity(manifest)), manifest):
            await walk.apply(manifest, force=identity(manifest) in seen)
    if decided.start and not walk.outcome.problems:
        await walk.apply(resolver_job(context, decided.start), force=False)
    for ref in (*decided.deletes, *left_over(children, {identity(manifest) for manifest in wanted})):
        await walk.delete(ref)

"""One pass of one LlamaWeights: ``plan_weights(world, settings, now)``; pure, so that it can be tried on any world.

1. a Job looks at the source; its pod's termination message is its report, the manifest goes into a ConfigMap
2. accepted weights are never looked at again, for what names them cannot change; unless their manifest was lost, and
   then they must have the digest that they had
3. a refusal is shown, and looked at again after a pause: 30 s for a claim, twice as long each time up to 10 min for
   what lies elsewhere, so that a repaired source heals by itself
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from llama_operator.api import LlamaWeightsSpec, ResolveAttempt
from llama_operator.hashing import short_hash
from llama_operator.observe.weights import JobView, WeightsSnapshot
from llama_operator.plan.explain import explain_start, rough_seconds
from llama_operator.plan.naming import look_name
from llama_operator.plan.reasons import Reason
from llama_operator.plan.settings import Settings
from llama_operator.ports import Ref
from llama_serving.config.model import ReportReason, WeightsReport
from llama_serving.config.source import is_mounted

RESOLVING: Final = "ResolvingWeights"
FIRST_PAUSE: Final = 30.0  # seconds
LONGEST_PAUSE: Final = 600.0
# A report arrives with the pod's end, the manifest by another watch.
MANIFEST_LAG: Final = timedelta(seconds=30)

SOON = 5.0  # seconds between passes while a Job is on its way: its pod's sentence changes without an event
LATER = 60.0


@dataclass(frozen=True)
class Look:
    """A Job that looks at the source."""

    name: str
    number: int


@dataclass(frozen=True)
class WeightsPlan:
    """One pass. ``reason`` and ``message`` say where the weights stand."""

    reason: str
    message: str
    settled: bool = False  # accepted and stored: nothing of the resolver is needed any more but the manifest
    accepted: WeightsReport | None = None  # heard in this pass
    wish_key: str = ""  # what it was accepted for
    look: ResolveAttempt | None = None  # the last look that ended
    start: Look | None = None
    deletes: tuple[Ref, ...] = ()
    recheck: float = LATER


def plan_weights(world: WeightsSnapshot, settings: Settings, now: datetime) -> WeightsPlan:
    """What to do now. Weights that are being deleted get an empty plan: owner references do the rest."""
    if world.deleting or world.spec is None:
        reason = Reason.SPEC_INVALID if world.spec_error else ""
        return WeightsPlan(reason, world.spec_error, look=world.status.last_resolve)
    name = look_name(world.key.name, look_key(world.spec, settings))
    job = next((job for job in world.jobs if job.name == name), None)
    running = next((job for job in world.jobs if not job.finished and job.pod and job.pod.phase == "Running"), None)
    job = job or running  # a look that reads is not thrown away for another image
    others = tuple(_delete(one) for one in world.jobs if one is not job and not one.leaving)
    if is_settled(world, world.spec):
        done = (_delete(job),) if job and not job.leaving else ()
        last = world.status.last_resolve
        said = last.message if last else ""
        return WeightsPlan(ReportReason.ACCEPTED, said, settled=True, look=last, deletes=others + done)
    if job is None:
        return _begin(world, world.spec, name, others)
    if job.leaving:
        return _waiting(world, f"Job {job.name} is on its way out, then the source is looked at again", others)
    if not job.finished:
        return _looking(world, job, others, now)
    return _judge(world, world.spec, job, others, now)


def is_settled(world: WeightsSnapshot, spec: LlamaWeightsSpec) -> bool:
    """What the status says was found for this spec, and the manifest of it is there."""
    status = world.status
    return status.key == wish_key(spec) and world.manifest is not None and world.manifest.digest == status.digest


def wish_key(spec: LlamaWeightsSpec) -> str:
    """Names what was accepted. The credentials are not part of it: they change, and the weights stay."""
    return short_hash(spec.model_dump(mode="json", include={"source", "revision", "license", "digest", "check"}))


def look_key(spec: LlamaWeightsSpec, settings: Settings) -> str:
    """Names a Job: one that cannot be placed, pulled or let in must give way when that is mended."""
    return short_hash([spec.model_dump(mode="json"), settings.gateway_image])


def pause(number: int, source: str) -> float:
    """Seconds from the end of the ``number``-th refused look to the next."""
    if is_mounted(source):
        return FIRST_PAUSE
    return float(min(FIRST_PAUSE * 2.0 ** min(number - 1, 16), LONGEST_PAUSE))


def _begin(world: WeightsSnapshot, spec: LlamaWeightsSpec, name: str, deletes: tuple[Ref, ...]) -> WeightsPlan:
    last = world.status.last_resolve
    number = last.number + 1 if last and last.key == name else 1
    plan = _waiting(world, f"a Job is started to look at {spec.source}", deletes)
    return WeightsPlan(plan.reason, plan.message, look=last, start=Look(name, number), deletes=deletes, recheck=SOON)


def _waiting(world: WeightsSnapshot, message: str, deletes: tuple[Ref, ...], reason: str = RESOLVING) -> WeightsPlan:
    """While it is looked at again, the last refusal is what a user should see."""
    last = world.status.last_resolve
    if last and last.refused and reason == RESOLVING:
        reason, message = last.reason, last.message
    return WeightsPlan(reason, message, look=last, deletes=deletes, recheck=SOON)


def _looking(world: WeightsSnapshot, job: JobView, deletes: tuple[Ref, ...], now: datetime) -> WeightsPlan:
    if job.pod is None:
        span = rough_seconds((now - job.created).total_seconds())
        more = "" if now - job.created < timedelta(seconds=30) else f"; `kubectl describe job {job.name}` says why"
        return _waiting(world, f"Job {job.name} has no pod yet, {span} so far{more}", deletes)
    wait = explain_start(job.pod, world.rooms, now)
    if wait is None:
        span = rough_seconds((now - job.pod.created).total_seconds())
        return _waiting(
            world, f"pod {job.pod.name} on node {job.pod.node} looks at the weights, {span} so far", deletes
        )
    if wait.reason is Reason.POD_STARTING:
        return _waiting(world, wait.detail, deletes)
    volume = wait.reason is Reason.UNSCHEDULABLE and "persistentvolumeclaim" in wait.detail
    return _waiting(world, wait.detail, deletes, Reason.VOLUME_UNAVAILABLE if volume else wait.reason)


def _judge(
    world: WeightsSnapshot, spec: LlamaWeightsSpec, job: JobView, deletes: tuple[Ref, ...], now: datetime
) -> WeightsPlan:
    report = _checked(_report(job), world, spec)
    ended = job.ended or job.created
    stored = world.manifest is not None and world.manifest.digest == report.digest
    if report.outcome == "accepted" and not stored:
        if now - ended < MANIFEST_LAG:
            return _waiting(world, f"the manifest of {report.files} files is on its way", deletes)
        why = f"Job {job.name} accepted the weights but stored no manifest with their digest {report.digest}"
        report = WeightsReport(outcome="refused", reason=ReportReason.WEIGHTS_BROKEN, message=why)
    look = ResolveAttempt(
        key=job.name,
        number=job.number,
        at=ended,
        refused=report.outcome == "refused",
        reason=report.reason,
        message=report.message,
    )
    if report.outcome == "accepted":
        key = wish_key(spec)
        return WeightsPlan(
            report.reason, report.message, accepted=report, wish_key=key, look=look, deletes=deletes, recheck=SOON
        )
    left = pause(job.number, spec.source) - (now - ended).total_seconds()
    again = (_delete(job),) if left <= 0 else ()
    return WeightsPlan(
        report.reason, report.message, look=look, deletes=deletes + again, recheck=max(min(left, LATER), 1.0)
    )


def _report(job: JobView) -> WeightsReport:
    pod = job.pod
    ended = pod.ended if pod else None
    text = ended.message if ended else ""
    try:
        return WeightsReport.model_validate_json(text)
    except ValidationError:
        said = " ".join(text.split())[-300:] or (pod.message or pod.reason if pod else "") or job.failure
        code = f"code {ended.exit_code} ({ended.reason})" if ended else "no code"
        who = f"pod {pod.name}" if pod else f"the pod of Job {job.name}"
        why = f"{who} ended with {code} and without a report: {said or 'it is gone'}"
        return WeightsReport(outcome="refused", reason=Reason.CONTAINER_FAILING, message=why)


def _checked(report: WeightsReport, world: WeightsSnapshot, spec: LlamaWeightsSpec) -> WeightsReport:
    """What was accepted once under this name must be the same again."""
    before = world.status.digest if world.status.key == wish_key(spec) else ""
    if report.outcome == "refused" or (report.facts and report.digest in (before or report.digest,)):
        return report
    if report.facts is None:
        return report.model_copy(
            update={"outcome": "refused", "reason": ReportReason.MODEL_REFUSED, "message": "the report has no facts"}
        )
    why = (
        f"revision {spec.revision} of {spec.source} had the digest {before} and now has {report.digest}: "
        "a revision must not move; name the new one"
    )
    return report.model_copy(update={"outcome": "refused", "reason": ReportReason.DIGEST_DIFFERS, "message": why})


def _delete(job: JobView) -> Ref:
    return Ref("batch/v1", "Job", job.name, job.uid)

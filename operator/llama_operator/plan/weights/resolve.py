"""One pass of one LlamaWeights, or LlamaAdapter: ``plan_weights(snapshot, settings, now)``; pure.

1. a Job resolves the source; its pod's termination message is its report, the manifest goes into a ConfigMap
2. accepted weights are never resolved again, for what names them cannot change; unless their manifest was lost, and
   then they must have the digest that they had
3. nothing is sent to a source with a Secret whose owner does not allow it (permission.py)
4. a refusal is shown, and the source resolved again after a pause: 30 s for a claim, twice as long each time up to
   10 min for what lies elsewhere, so that a repaired source heals by itself
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from llama_operator.api import LlamaAdapterSpec, ResolveAttempt, ResolvedSpec
from llama_operator.bounds.json_text import JsonLimits, OverLimitError
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_operator.hashing import short_hash
from llama_operator.observe.causes.kubelet import ended_cause
from llama_operator.observe.last_words import last_words
from llama_operator.observe.weights import JobView, WeightsSnapshot
from llama_operator.plan.causes import LONGEST, OF_MODEL, ending_words, refusal_words
from llama_operator.plan.explain import explain_start
from llama_operator.plan.naming import resolver_job_name
from llama_operator.plan.sentences import refusals as refusal_sentences
from llama_operator.plan.sentences import weights as sentences
from llama_operator.plan.settings import Settings
from llama_operator.ports import Ref
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.model import WeightsReport
from llama_serving.config.reasons import Reason, ReportReason
from llama_serving.config.source import is_mounted
from llama_serving.config.wording import clause, rough_seconds

FIRST_PAUSE: Final = 30.0  # seconds
LONGEST_PAUSE: Final = 600.0
# A report arrives with the pod's end, the manifest by another watch.
MANIFEST_LAG: Final = timedelta(seconds=30)

#: The Job controller's word for a pod of it that was refused.
FAILED_CREATE: Final = "FailedCreate"

#: The report of a resolver: the kubelet keeps 4 KiB of a termination message.
_REPORT: Final = JsonLimits(size=16 << 10, elements=2_000)

SOON = 5.0  # seconds between passes while a Job is on its way: its pod's sentence changes without an event
EARLY = 2.0  # while its pod starts: why it does not is asked when it has had time to
LATER = 60.0
PERMISSION_PAUSE = 15.0  # until a Secret that may not be sent is looked at again


@dataclass(frozen=True)
class ResolveJob:
    """A Job that resolves the source; ``number`` counts the attempts."""

    name: str
    number: int


@dataclass(frozen=True)
class WeightsPlan:
    """One pass. ``reason`` and ``message`` say where the weights stand."""

    reason: str
    message: str
    settled: bool = False  # accepted and stored: of the resolver only the manifest is needed
    accepted: WeightsReport | None = None  # heard in this pass
    spec_key: str = ""  # what it was accepted for
    last_attempt: ResolveAttempt | None = None  # the last one that ended
    start: ResolveJob | None = None
    deletes: tuple[Ref, ...] = ()
    recheck: float = LATER


def plan_weights(snapshot: WeightsSnapshot, settings: Settings, now: datetime) -> WeightsPlan:
    """Decide what to do now. Weights that are being deleted get an empty plan: owner references do the rest."""
    spec = snapshot.spec
    if snapshot.deleting or spec is None:
        reason = Reason.SPEC_INVALID if snapshot.spec_error else ""
        return WeightsPlan(reason, snapshot.spec_error, last_attempt=snapshot.status.last_resolve)
    if snapshot.denied:
        return _denied(snapshot, *snapshot.denied)
    name = resolver_job_name(snapshot.key.name, resolve_key(spec, settings))
    job = next((job for job in snapshot.jobs if job.name == name), None) or _running(snapshot.jobs)
    found = _plan(snapshot, spec, _Attempt(name, job, now))
    others = tuple(_delete(one) for one in snapshot.jobs if one is not job and not one.leaving)
    return replace(found, deletes=others + found.deletes)


@dataclass(frozen=True)
class _Attempt:
    name: str  # of the Job that the spec asks for
    job: JobView | None  # that one, or another that reads: it is not thrown away for another image
    now: datetime


def _running(jobs: Iterable[JobView]) -> JobView | None:
    return next((job for job in jobs if not job.finished and job.pod and job.pod.phase == "Running"), None)


def _plan(snapshot: WeightsSnapshot, spec: ResolvedSpec, attempt: _Attempt) -> WeightsPlan:
    job = attempt.job
    if is_resolved(snapshot, spec):
        done = (_delete(job),) if job and not job.leaving else ()
        last = snapshot.status.last_resolve
        message = last.message if last else ""
        return WeightsPlan(ReportReason.ACCEPTED, message, settled=True, last_attempt=last, deletes=done)
    if job is None:
        return _start(snapshot, spec, attempt.name)
    if job.leaving:
        return _waiting(snapshot, sentences.job_deleted(job.name))
    if not job.finished:
        return _running_job(snapshot, job, attempt.now)
    return _finished(snapshot, spec, job, now=attempt.now)


def is_resolved(snapshot: WeightsSnapshot, spec: ResolvedSpec) -> bool:
    """Return whether the status says what was found for this spec, and the manifest of it is there."""
    status, manifest = snapshot.status, snapshot.manifest
    return status.key == spec_key(spec) and manifest is not None and manifest.digest == status.digest


def spec_key(spec: ResolvedSpec) -> str:
    """Name what was accepted. The credentials are not part of it: they change, and the weights stay."""
    return short_hash(spec.model_dump(mode="json", include={"source", "revision", "license", "digest", "check"}))


def resolve_key(spec: ResolvedSpec, settings: Settings) -> str:
    """Name a Job: one that cannot be placed, pulled or let in must give way when that is mended."""
    asked = spec.model_dump(mode="json")
    if isinstance(spec, LlamaAdapterSpec):  # what it is asked is no part of what is read
        asked = {**spec.model_dump(mode="json", exclude={"base", "golden_prompts"}), "adapter": True}
    if not spec.service_account_name:  # as the name of a Job was before there was such a field
        del asked["service_account_name"]
    return short_hash([asked, settings.gateway_image])


def pause(number: int, source: str) -> float:
    """Return the seconds from the end of the ``number``-th refused attempt to the next."""
    if is_mounted(source):
        return FIRST_PAUSE
    return doubling_pause(number, first=FIRST_PAUSE, longest=LONGEST_PAUSE)


def _start(snapshot: WeightsSnapshot, spec: ResolvedSpec, name: str) -> WeightsPlan:
    last = snapshot.status.last_resolve
    number = last.number + 1 if last and last.key == name else 1
    problem = snapshot.manifest_problem
    said = sentences.manifest_unreadable(problem) if problem else sentences.job_starts(spec.source)
    waiting = _waiting(snapshot, said)
    return replace(waiting, start=ResolveJob(name, number))


def _denied(snapshot: WeightsSnapshot, reason: Reason, message: str) -> WeightsPlan:
    """End what runs with the Secret, and wait until its owner allows it: no event tells of that."""
    gone = tuple(_delete(job) for job in snapshot.jobs if not job.leaving)
    last = snapshot.status.last_resolve
    return WeightsPlan(reason, message, last_attempt=last, deletes=gone, recheck=PERMISSION_PAUSE)


def _waiting(snapshot: WeightsSnapshot, message: str, reason: str = ReportReason.RESOLVING) -> WeightsPlan:
    """Wait. While the source is resolved again, the last refusal is what a user should see."""
    last = snapshot.status.last_resolve
    if last and last.refused and reason == ReportReason.RESOLVING:
        reason, message = last.reason, last.message
    return WeightsPlan(reason, message, last_attempt=last, recheck=SOON)


def _running_job(snapshot: WeightsSnapshot, job: JobView, now: datetime) -> WeightsPlan:
    pod = job.pod
    if pod is None:
        return _without_pod(snapshot, job, now)
    wait = explain_start(pod, snapshot.capacity, now, prefix=OF_MODEL if snapshot.of_deployment else "")
    if wait is None:
        span = rough_seconds((now - pod.created).total_seconds())
        return _waiting(snapshot, sentences.resolving(pod.name, node=pod.node, waited=span))
    if wait.reason is Reason.POD_STARTING:
        return replace(_waiting(snapshot, wait.detail), recheck=EARLY)
    return _waiting(snapshot, wait.detail, wait.reason)


def _without_pod(snapshot: WeightsSnapshot, job: JobView, now: datetime) -> WeightsPlan:
    """Say why a Job has no pod: its pods are refused, as its controller records, or it is new."""
    refused = next((event for event in job.findings.events if event.reason == FAILED_CREATE), None)
    if refused is not None:
        why = refusal_words(refused.message.removeprefix("Error creating: "))
        return _waiting(snapshot, refusal_sentences.job_makes_no_pod(job.name, why=why), Reason.API_REJECTED)
    span = rough_seconds((now - job.created).total_seconds())
    long = now - job.created >= timedelta(seconds=30)
    return _waiting(snapshot, sentences.job_without_pod(job.name, waited=span, long=long))


def _finished(snapshot: WeightsSnapshot, spec: ResolvedSpec, job: JobView, *, now: datetime) -> WeightsPlan:
    report = _checked(_report(job), snapshot, spec)
    ended = job.ended or job.created
    stored = snapshot.manifest is not None and snapshot.manifest.digest == report.digest
    if report.outcome == "accepted" and not stored:
        if now - ended < MANIFEST_LAG:
            return _waiting(snapshot, sentences.manifest_awaited(report.files))
        why = sentences.manifest_not_stored(job.name, digest=report.digest, problem=snapshot.manifest_problem)
        report = WeightsReport(outcome="refused", reason=ReportReason.WEIGHTS_BROKEN, message=why)
    refused = report.outcome == "refused"
    attempt = ResolveAttempt(
        key=job.name, number=job.number, at=ended, refused=refused, reason=report.reason, message=report.message
    )
    found = WeightsPlan(report.reason, report.message, last_attempt=attempt)
    if not refused:
        return replace(found, accepted=report, spec_key=spec_key(spec), recheck=SOON)
    left = pause(job.number, spec.source) - (now - ended).total_seconds()
    again = (_delete(job),) if left <= 0 else ()
    return replace(found, deletes=again, recheck=max(min(left, LATER), 1.0))


def _report(job: JobView) -> WeightsReport:
    pod = job.pod
    ended = pod.ended if pod else None
    text = ended.message if ended else ""
    try:
        return parse_json(WeightsReport, text.encode(), _REPORT)
    except OverLimitError as error:
        why = sentences.report_over_limit(pod=pod.name if pod else "", why=str(error))
        return WeightsReport(outcome="refused", reason=Reason.CONTAINER_FAILING, message=why)
    except UnreadableError:
        said = clause(last_words(text), LONGEST) or _why_ended(job)
        code, word = (ended.exit_code, ended.reason) if ended else (None, "")
        name = pod.name if pod else ""
        why = sentences.no_report(pod=name, job=job.name, exit_code=code, word=word, said=said)
        return WeightsReport(outcome="refused", reason=Reason.CONTAINER_FAILING, message=why)


def _why_ended(job: JobView) -> str:
    """Say why a Job's pod ended without a word of its own: by the pod's status, else by the Job's."""
    pod = job.pod
    cause = ended_cause(pod.reason, pod.message) if pod else ended_cause("", job.failure)
    if cause is not None:
        return ending_words(cause, pod.node if pod else "")
    return clause((pod.message or pod.reason if pod else "") or job.failure, LONGEST)


def _checked(report: WeightsReport, snapshot: WeightsSnapshot, spec: ResolvedSpec) -> WeightsReport:
    """Refuse what is not the same as what was accepted once under this name."""
    before = snapshot.status.digest if snapshot.status.key == spec_key(spec) else ""
    facts = report.adapter if isinstance(spec, LlamaAdapterSpec) else report.facts
    if report.outcome == "refused" or (facts and report.digest in (before or report.digest,)):
        return report
    if facts is None:
        return report.model_copy(
            update={
                "outcome": "refused",
                "reason": ReportReason.MODEL_REFUSED,
                "message": sentences.report_without_facts(),
            }
        )
    why = sentences.revision_moved(revision=spec.revision, source=spec.source, before=before, now=report.digest)
    return report.model_copy(update={"outcome": "refused", "reason": ReportReason.DIGEST_DIFFERS, "message": why})


def _delete(job: JobView) -> Ref:
    return Ref("batch/v1", "Job", job.name, job.uid)

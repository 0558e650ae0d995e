"""The status of a LlamaWeights: computed from what was seen, written once per pass, only if it differs."""

from datetime import datetime

from llama_operator.api import (
    ADAPTERS_KIND,
    AdapterFactsStatus,
    ChatStatus,
    LlamaAdapterStatus,
    LlamaWeightsStatus,
    ModelFactsStatus,
    ResolvedStatus,
)
from llama_operator.observe.weights import WeightsSnapshot
from llama_operator.plan.naming import manifest_name, resolved_prefix
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.weights.resolve import WeightsPlan
from llama_operator.status.conditions import LONGEST, Stamp, kstatus_conditions, needs_somebody
from llama_serving.config.model import WeightsReport
from llama_serving.config.reason_catalogue import CATALOGUE
from llama_serving.config.reasons import ReportReason


def weights_status(
    snapshot: WeightsSnapshot, plan: WeightsPlan, problems: tuple[Explanation, ...], *, now: datetime
) -> ResolvedStatus:
    """Compute the status to write after this pass. ``problems``: what the API server said to our writes."""
    ready = plan.settled or plan.accepted is not None
    reason, message = plan.reason, plan.message[:LONGEST]
    if problems and not ready:
        reason, message = problems[0].reason, problems[0].detail[:LONGEST]
    found = _accepted(plan.accepted, plan.spec_key, snapshot) if plan.accepted else snapshot.status
    stamp = Stamp(snapshot.status.conditions, snapshot.generation, now)
    return found.model_copy(
        update={
            "observed_generation": snapshot.generation,
            "ready": ready,
            "reason": str(reason),
            "message": message,
            "permitted_secret": _permitted_secret(snapshot),
            "last_resolve": plan.last_attempt,
            "conditions": kstatus_conditions(
                (reason or ReportReason.RESOLVING, message), ready=ready, stalled=_is_stalled(reason, plan), stamp=stamp
            ),
        }
    )


def _permitted_secret(snapshot: WeightsSnapshot) -> str | None:
    """Return the Secret that the spec names where it may be sent, else what was permitted before."""
    if snapshot.denied or snapshot.spec is None:
        return snapshot.status.permitted_secret
    return snapshot.spec.credentials_secret


def _is_stalled(reason: str, plan: WeightsPlan) -> bool:
    """Return whether somebody has to act; a refusal by a word that only a newer resolver knows counts as one."""
    refused = plan.last_attempt is not None and plan.last_attempt.refused and plan.last_attempt.reason == reason
    return needs_somebody(reason) or (refused and reason not in CATALOGUE)


def short_bytes(number: int) -> str:
    """Return three digits and a decimal unit, such as ``269MB`` or ``16.1GB``."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


def _accepted(report: WeightsReport, key: str, snapshot: WeightsSnapshot) -> ResolvedStatus:
    found = _found(report, key, snapshot)
    if snapshot.kind == ADAPTERS_KIND:
        adapter = AdapterFactsStatus.model_validate(report.adapter.model_dump()) if report.adapter else None
        return LlamaAdapterStatus(**vars(found), facts=adapter)
    facts = ModelFactsStatus.model_validate(report.facts.model_dump()) if report.facts else None
    chat = ChatStatus.model_validate(report.chat.model_dump()) if report.chat else None
    return LlamaWeightsStatus(**vars(found), facts=facts, chat=chat)


def _found(report: WeightsReport, key: str, snapshot: WeightsSnapshot) -> ResolvedStatus:
    """Return what is said of either kind."""
    return ResolvedStatus(
        key=key,
        resolved_revision=report.revision,
        digest=report.digest,
        short_digest=report.digest.removeprefix("sha256:")[:12],
        bytes=report.bytes,
        size=short_bytes(report.bytes),
        files=report.files,
        license=report.license,
        manifest=manifest_name(resolved_prefix(snapshot.kind, snapshot.key.name)),
    )

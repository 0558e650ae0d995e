"""The result of resolving some weights: a report, and the manifest where the weights were accepted."""

from dataclasses import dataclass

from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.model import AdapterFacts, ModelFacts, WeightsReport
from llama_serving.config.reasons import CellReason, ReportReason
from llama_serving.config.weights import Manifest
from llama_serving.weights.adapter.inspection import adapter_summary
from llama_serving.weights.model.inspection import summary
from llama_serving.weights.source.interface import Denied, Gone, SourceError


@dataclass(frozen=True)
class Resolution:
    """The report, and the manifest where the weights were accepted."""

    report: WeightsReport
    manifest: Manifest | None = None


@dataclass
class PartialResult:
    """What is known of the weights before they are accepted or refused; both reports contain it, but for ``chat``."""

    revision: str = ""
    license: str = ""
    chat: ChatFacts | None = None
    note: str = ""  # what an accepted report adds to its message


def accepted(facts: ModelFacts | AdapterFacts, manifest: Manifest, known: PartialResult) -> Resolution:
    """Return the resolution of weights, or of an adapter, that may be served."""
    adapter = facts if isinstance(facts, AdapterFacts) else None
    model = facts if isinstance(facts, ModelFacts) else None
    said = adapter_summary(adapter) if adapter else summary(model) if model else ""
    report = WeightsReport(
        outcome="accepted",
        reason=ReportReason.ACCEPTED,
        message="; ".join(filter(None, (said, known.note))),
        facts=model,
        adapter=adapter,
        chat=known.chat,
        digest=manifest.digest,
        bytes=manifest.bytes,
        files=len(manifest.files),
        license=known.license,
        revision=known.revision,
    )
    return Resolution(report, manifest)


def refused(reason: str, message: str, *, known: PartialResult) -> Resolution:
    """Return the resolution of weights that may not be served."""
    report = WeightsReport(
        outcome="refused", reason=reason, message=message, license=known.license, revision=known.revision
    )
    return Resolution(report)


def refused_by_source(error: SourceError, known: PartialResult | None = None) -> Resolution:
    """Return the resolution of weights whose source failed for good."""
    match error:
        case Denied():
            reason = ReportReason.WEIGHTS_DENIED
        case Gone():
            reason = ReportReason.WEIGHTS_GONE
        case _:
            reason = ReportReason.WEIGHTS_BROKEN
    return refused(reason, str(error), known=known or PartialResult())


def refused_by_bug(error: Exception) -> Resolution:
    """Return the resolution of weights on which the resolver itself failed. Its log has the rest."""
    message = (
        f"the resolver failed on these files with {type(error).__name__}, which is a fault of the resolver: report it "
        "with the log of its pod"
    )
    return refused(CellReason.WEIGHTS_UNREADABLE, message, known=PartialResult())

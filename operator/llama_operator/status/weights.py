"""The status of a LlamaWeights: computed from what was seen, written once per pass, only if it differs."""

from datetime import datetime
from typing import Final

from llama_operator.api import Condition, LlamaWeightsStatus, ModelFactsStatus
from llama_operator.observe.weights import WeightsSnapshot
from llama_operator.plan.naming import manifest_name
from llama_operator.plan.reasons import Explanation, Reason
from llama_operator.plan.weights.resolve import RESOLVING, WeightsPlan
from llama_operator.ports import KubeEvent
from llama_serving.config.model import ReportReason, WeightsReport

LONGEST: Final = 2000  # characters of a sentence: the API server refuses a condition with a very long one

_NO_WARNING: Final = frozenset({RESOLVING, Reason.POD_STARTING, Reason.API_RETRY, ReportReason.ACCEPTED})


def report_weights(
    world: WeightsSnapshot, plan: WeightsPlan, problems: tuple[Explanation, ...], now: datetime
) -> LlamaWeightsStatus:
    """The status to write after this pass. ``problems`` are what the API server said to our writes."""
    ready = plan.settled or plan.accepted is not None
    reason, message = plan.reason, plan.message[:LONGEST]
    if problems and not ready:
        reason, message = problems[0].reason, problems[0].detail[:LONGEST]
    found = _found(plan.accepted, plan.wish_key, world) if plan.accepted else world.status
    return found.model_copy(
        update={
            "observed_generation": world.generation,
            "ready": ready,
            "reason": str(reason),
            "message": message,
            "last_resolve": plan.look,
            "conditions": (_condition(world, ready, reason, message, now.replace(microsecond=0)),),
        }
    )


def weights_notices(before: LlamaWeightsStatus, after: LlamaWeightsStatus) -> tuple[KubeEvent, ...]:
    """An event when the reason changed, or the refusal's sentence."""
    refused = after.last_resolve is not None and after.last_resolve.refused and not after.ready
    same = before.reason == after.reason and (not refused or before.message == after.message)
    if same or not after.reason:
        return ()
    return (KubeEvent(warning=after.reason not in _NO_WARNING, reason=after.reason, message=after.message),)


def shown_bytes(count: int) -> str:
    """Three digits and a decimal unit, such as ``269MB`` or ``16.1GB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


def _found(report: WeightsReport, key: str, world: WeightsSnapshot) -> LlamaWeightsStatus:
    facts = ModelFactsStatus.model_validate(report.facts.model_dump()) if report.facts else None
    return LlamaWeightsStatus(
        key=key,
        resolved_revision=report.revision,
        digest=report.digest,
        short_digest=report.digest.removeprefix("sha256:")[:12],
        bytes=report.bytes,
        size=shown_bytes(report.bytes),
        files=report.files,
        license=report.license,
        facts=facts,
        manifest=manifest_name(world.key.name),
    )


def _condition(world: WeightsSnapshot, ready: bool, reason: str, message: str, moment: datetime) -> Condition:
    status = "True" if ready else "False"
    before = next((one for one in world.status.conditions if one.type == "Ready"), None)
    return Condition(
        type="Ready",
        status=status,
        reason=reason or RESOLVING,
        message=message,
        last_transition_time=before.last_transition_time if before and before.status == status else moment,
        observed_generation=world.generation,
    )

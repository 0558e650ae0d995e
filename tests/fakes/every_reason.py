"""Every state that a status can be in, made by our own status code, with what kstatus is to make of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from llama_operator.api import (
    API_VERSION,
    KIND,
    WEIGHTS_KIND,
    LlamaDeploymentStatus,
    LlamaWeightsStatus,
    ResolveAttempt,
    ResolvedStatus,
)
from llama_operator.api.crdgen.crd import llama_deployment_crd, llama_weights_crd
from llama_operator.api.v1alpha1.status import RolloutStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.weights import WeightsSnapshot
from llama_operator.plan.planner import plan
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.weights.resolve import WeightsPlan
from llama_operator.ports import Key
from llama_operator.status.deployment import deployment_status
from llama_operator.status.weights import weights_status
from llama_serving.config.reason_catalogue import CATALOGUE, Severity
from llama_serving.config.reasons import Reason, ReportReason
from tests.unit.operator.worlds import NOW, group, heard, state_of, world

Verdict = Literal["InProgress", "Current", "Failed", "Terminating"]

#: What the severity of a reason means to those who wait: see the page of decisions on kstatus.
BY_SEVERITY: Final[dict[Severity, Verdict]] = {
    Severity.NEEDS_SOMEBODY: "Failed",
    Severity.FAILED: "InProgress",
    Severity.WAITS: "InProgress",
    Severity.INFO: "Current",
}
_PODS: Final = (*group(0), *group(1))
SERVING: Final = world(*_PODS, cells=heard(*_PODS))
ZERO: Final = world(replicas=0)


@dataclass(frozen=True)
class Case:
    """An object as the API server shows it, and what kstatus is to say of it."""

    name: str
    body: dict[str, Any]
    expect: Verdict


def cases() -> list[Case]:
    """Every reason of the catalogue in a status of either kind, and what no reason says."""
    return [*_deployments(), *_weights(), *_generations()]


def deployment_with(
    *found: Explanation, seen: Snapshot = SERVING, phase: str = "", writes: int = 0
) -> LlamaDeploymentStatus:
    """The status of a pass that explains this."""
    state = state_of(seen)
    decided = replace(plan(state), explanations=found)
    if phase:
        decided = replace(decided, persisted=replace(decided.persisted, rollout=_rollout(phase)))
    return deployment_status(state, decided, (), writes=writes)


def weights_with(reason: str, *, settled: bool = False, refused: bool = False) -> ResolvedStatus:
    """The status of weights that wait for this, are refused, or are resolved."""
    seen = WeightsSnapshot(
        key=Key("team", "w"), uid="u", generation=1, deleting=False, spec=None, spec_error="",
        status=LlamaWeightsStatus(),
    )  # fmt: skip
    last = ResolveAttempt(key="k", number=1, at=NOW, refused=refused, reason=reason)
    decided = WeightsPlan(reason, "a sentence", settled=settled, last_attempt=last)
    return weights_status(seen, decided, (), now=NOW)


def _rollout(phase: str) -> RolloutStatus:
    return RolloutStatus.model_validate(
        {
            "key": "k", "verificationHash": "v", "phase": phase, "reason": "CanaryFailed", "to": "w in pods p",
            "templateHash": "t", "podHash": "p", "weights": "w", "digest": "d", "started": NOW,
        }
    )  # fmt: skip


def _deployments() -> Iterator[Case]:
    yield _case("Serving", deployment_with(), "Current")
    yield _case("ScaledToZero", deployment_with(seen=ZERO), "Current")
    yield _case("writes", deployment_with(writes=1), "InProgress")
    for reason in Reason:
        severity = CATALOGUE[reason].severity
        if severity is not Severity.INFO:  # those are said when nothing is explained
            status = deployment_with(Explanation(reason, "a sentence"))
            yield _case(reason, status, BY_SEVERITY[severity])
        if severity is Severity.FAILED:  # the groups are back, and nothing goes on without another spec
            held = deployment_with(Explanation(reason, "a sentence"), phase="Held")
            yield _case(f"{reason}, rollout held", held, "Failed")
    busy = deployment_with(Explanation(Reason.IMAGE_UNAVAILABLE, "a sentence", passing=True))
    yield _case("ImageUnavailable for a moment", busy, "InProgress")
    grows = world(*_PODS, cells=heard(*_PODS), spec={"placement": {"scheduling": "perPod"}})
    for reason in (Reason.UNSCHEDULABLE, Reason.WAITING_FOR_ROOM):
        status = deployment_with(Explanation(reason, "a sentence"), seen=grows)
        yield _case(f"{reason}, nodes are added", status, "InProgress")


def _weights() -> Iterator[Case]:
    yield _case(ReportReason.ACCEPTED, weights_with(ReportReason.ACCEPTED, settled=True), "Current")
    for word, entry in CATALOGUE.items():
        if entry.severity is not Severity.INFO:
            yield _case(word, weights_with(word), BY_SEVERITY[entry.severity])


def _generations() -> Iterator[Case]:
    for crd in (llama_deployment_crd(), llama_weights_crd()):
        unseen = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
        kind = crd["spec"]["names"]["kind"]
        yield Case(f"{kind} that was never seen", _body(kind, unseen), "InProgress")
    serving = deployment_with().to_api()
    yield Case("a newer spec", _body(KIND, serving, generation=2), "InProgress")
    yield Case("deleted", _body(KIND, serving, deletionTimestamp="2026-01-01T00:00:00Z"), "Terminating")


def _case(name: str, status: LlamaDeploymentStatus | ResolvedStatus, expect: Verdict) -> Case:
    kind = KIND if isinstance(status, LlamaDeploymentStatus) else WEIGHTS_KIND
    return Case(f"{kind} {name}", _body(kind, status.to_api()), expect)


def _body(kind: str, status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    meta = {"name": "chat", "namespace": "team", "generation": 1, **metadata}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": {}, "status": status}

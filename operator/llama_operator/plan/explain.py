"""Why a group does not serve: one sentence with numbers, from what the scheduler, the kubelet and the cell say."""

from datetime import datetime

from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView, Waiting
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.placement.shortage import pod_shortage
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.plan.sentences import deployment as deployment_sentences
from llama_operator.plan.sentences import groups as sentences
from llama_operator.ports import Capacity, Manifest
from llama_serving.config.reason_catalogue import FAILURES, reason_from
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import CellState, Phase
from llama_serving.config.wording import clause, rough_seconds

_IMAGE_WORDS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_LONGEST = 300  # characters of what somebody else said


def explain_group(ordinal: int, stages: int, state: PlanState) -> Explanation | None:
    """Return the one thing to look at first in the groups of this ordinal; None when one of them serves.

    ``stages``: the pods that a group is to have, 0 where that is not known.
    """
    groups = state.at(ordinal)
    if any(group.serving for group in groups):
        return None
    pods = [pod for group in groups for pod in group.pods]
    found = [explanation for pod in pods if (explanation := explain_pod(pod, state.snapshot, state.now))]
    if len(pods) < stages:
        text = sentences.group_incomplete(ordinal, pods=len(pods), stages=stages)
        found.append(Explanation(Reason.POD_STARTING, text, ordinal))
    return most_severe(tuple(found))


def explain_gateway(snapshot: Snapshot) -> tuple[Explanation, ...]:
    """Say that no gateway is ready, since requests reach the groups through gateways only; or how many are not."""
    ready, asked = gateways_ready(snapshot)
    changed = gateways_settled(snapshot)
    if ready and changed >= asked:
        return ()
    stuck = (_not_running(pod, snapshot.capacity) for pod in snapshot.gateways if pod.alive)
    first = most_severe(tuple(explanation for explanation in stuck if explanation))
    if ready:
        text = deployment_sentences.gateways_starting(ready=changed, asked=asked, why=first.detail if first else "")
        failed = first is not None and first.reason in FAILURES
        return (Explanation(first.reason if first and failed else Reason.GATEWAY_STARTING, text),)
    text = deployment_sentences.gateways_not_ready(asked=asked, why=first.detail if first else "")
    return (Explanation(Reason.GATEWAY_NOT_READY, text),)


def gateways_ready(snapshot: Snapshot) -> tuple[int, int]:
    """Count the gateway pods that answer, and those asked for; both 0 before the Deployment was seen."""
    gateway = _gateway(snapshot)
    if gateway is None:
        return 0, 0
    return (gateway.get("status") or {}).get("availableReplicas", 0), gateway["spec"].get("replicas", 0)


def gateways_settled(snapshot: Snapshot) -> int:
    """Count the gateway pods that run as their Deployment asks and answer; 0 before its controller has seen a change.

    Pods of the earlier template are counted as available ones, so that a new pod counts once it surely answers.
    """
    gateway = _gateway(snapshot)
    if gateway is None:
        return 0
    status = gateway.get("status") or {}
    generation = gateway["metadata"].get("generation", 0)
    if status.get("observedGeneration", generation) < generation:
        return 0
    replicas, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    return max(min(updated, int(status.get("availableReplicas", 0)) - (replicas - updated)), 0)


def _gateway(snapshot: Snapshot) -> Manifest | None:
    return next((child for child in snapshot.children if child["kind"] == "Deployment"), None)


def explain_pod(pod: PodView, snapshot: Snapshot, now: datetime) -> Explanation | None:
    """Say why this pod is not a serving stage yet; None when it is."""
    return explain_start(pod, snapshot.capacity, now) or _cell(pod, snapshot, now)


def explain_start(pod: PodView, capacity: Capacity | None, now: datetime) -> Explanation | None:
    """Say why no container of this pod runs, from what scheduler and kubelet say; None when one does."""
    stuck = _not_running(pod, capacity)
    if stuck:
        return stuck
    if pod.gated:  # no time in it: a group may wait long for room, and says so elsewhere
        return Explanation(Reason.POD_STARTING, sentences.pod_gated(pod.name), pod.group)
    if not pod.node or pod.phase == "Pending":
        detail = sentences.pod_starting(pod.name, node=pod.node, waited=_span(now, pod.created))
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    return None


def _not_running(pod: PodView, capacity: Capacity | None) -> Explanation | None:
    """Say what the scheduler or the kubelet has against this pod."""
    if pod.unscheduled:
        return Explanation(
            Reason.UNSCHEDULABLE, sentences.pod_unscheduled(pod.name, pod_shortage(pod, capacity)), pod.group
        )
    return _waiting(pod, pod.waiting) if pod.waiting else None


def _waiting(pod: PodView, waiting: Waiting) -> Explanation:
    said = clause(waiting.message, _LONGEST)
    if waiting.reason in _IMAGE_WORDS:
        text = sentences.image_unavailable(pod.name, node=pod.node, word=waiting.reason, said=said)
        return Explanation(Reason.IMAGE_UNAVAILABLE, text, pod.group)
    if waiting.reason == "CrashLoopBackOff":
        said = ""  # its message is the present pause, which says nothing of the cause
    text = sentences.container_failing(pod.name, node=pod.node, word=waiting.reason, said=said, history=_history(pod))
    return Explanation(Reason.CONTAINER_FAILING, text, pod.group)


def _history(pod: PodView) -> str:
    """Count restarts, and quote a container that has ended before."""
    if pod.ended is None:
        return ""
    last_words = pod.ended.message.strip().rpartition("\n")[2]  # the kubelet keeps the last lines of the log
    return sentences.container_history(
        restarts=pod.restarts, exit_code=pod.ended.exit_code, last_words=clause(last_words, _LONGEST)
    )


def _cell(pod: PodView, snapshot: Snapshot, now: datetime) -> Explanation | None:
    answer = snapshot.cells.get(pod.name)
    if answer is None or answer.state is None:
        error, age = answer.error if answer else "", _span(now, pod.created)
        detail = sentences.supervisor_silent(pod.name, node=pod.node, age=age, error=error, history=_history(pod))
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    cell = answer.state
    if cell.phase is Phase.SERVING and (cell.stage != 0 or pod.ready):
        return None
    text = sentences.stage_says(
        pod.group, stage=pod.stage, node=pod.node, said=clause(cell.message, _LONGEST), restarts=pod.restarts
    )
    return Explanation(_cell_reason(cell), text, pod.group)


def _cell_reason(cell: CellState) -> Reason:
    if cell.reason is CellReason.SERVING:  # it serves, the pod's readiness has not followed yet
        return Reason.ENGINE_STARTING
    return reason_from(cell.reason, otherwise=Reason.ENGINE_STARTING)


def _span(now: datetime, since: datetime) -> str:
    return rough_seconds((now - since).total_seconds())

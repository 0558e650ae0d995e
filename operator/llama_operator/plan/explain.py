"""Why a group does not serve: one sentence with numbers, from what the scheduler, the kubelet and the cell say."""

from datetime import datetime

from llama_operator.observe.deployment import PodView, Snapshot, Waiting
from llama_operator.plan import sentences
from llama_operator.plan.placement.shortage import shortage
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.ports import NodeCapacity
from llama_serving.config.reason_catalogue import reason_from
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


def explain_group(
    ordinal: int, pods: tuple[PodView, ...], stages: int, world: Snapshot, now: datetime
) -> Explanation | None:
    """The one thing to look at first in this group; None when it serves."""
    if any(pod.stage == 0 and pod.alive and pod.ready for pod in pods):
        return None
    holds = [hold for pod in pods if (hold := explain_pod(pod, world, now))]
    if len(pods) < stages:
        detail = sentences.group_incomplete(ordinal, pods=len(pods), stages=stages)
        holds.append(Explanation(Reason.POD_STARTING, detail, ordinal))
    return most_severe(tuple(holds))


def explain_gateway(world: Snapshot) -> tuple[Explanation, ...]:
    """Requests reach the groups through the gateways only."""
    ready, asked = gateways_ready(world)
    if ready:
        return ()
    stuck = (hold for pod in world.gateways if pod.alive and (hold := _not_running(pod, world.rooms)))
    first = most_severe(tuple(stuck))
    detail = sentences.gateways_not_ready(asked=asked, why=first.detail if first else "")
    return (Explanation(Reason.GATEWAY_NOT_READY, detail),)


def gateways_ready(world: Snapshot) -> tuple[int, int]:
    """Gateway pods that answer, and those asked for; both 0 before the Deployment was seen."""
    found = (child for child in world.children if child["kind"] == "Deployment")
    gateway = next(found, None)
    if gateway is None:
        return 0, 0
    return (gateway.get("status") or {}).get("availableReplicas", 0), gateway["spec"].get("replicas", 0)


def explain_pod(pod: PodView, world: Snapshot, now: datetime) -> Explanation | None:
    """Why this pod is not a serving stage yet; None when it is."""
    return explain_start(pod, world.rooms, now) or _cell(pod, world, now)


def explain_start(pod: PodView, rooms: tuple[NodeCapacity, ...] | None, now: datetime) -> Explanation | None:
    """Why no container of this pod runs, from what the scheduler and the kubelet say; None when one does."""
    stuck = _not_running(pod, rooms)
    if stuck:
        return stuck
    if pod.gated:  # no time in it: a group may wait long for room, and says so elsewhere
        return Explanation(Reason.POD_STARTING, sentences.pod_gated(pod.name), pod.group)
    if not pod.node or pod.phase == "Pending":
        detail = sentences.pod_starting(pod.name, node=pod.node, waited=_span(now, pod.created))
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    return None


def _not_running(pod: PodView, rooms: tuple[NodeCapacity, ...] | None) -> Explanation | None:
    """What the scheduler or the kubelet says against this pod."""
    if pod.unscheduled:
        return Explanation(Reason.UNSCHEDULABLE, sentences.pod_unscheduled(pod.name, shortage(pod, rooms)), pod.group)
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
    """Restarts and the last words of a container that has ended before."""
    if pod.ended is None:
        return ""
    last_words = pod.ended.message.strip().rpartition("\n")[2]  # the kubelet keeps the last lines of the log
    return sentences.container_history(
        restarts=pod.restarts, exit_code=pod.ended.exit_code, last_words=clause(last_words, _LONGEST)
    )


def _cell(pod: PodView, world: Snapshot, now: datetime) -> Explanation | None:
    answer = world.cells.get(pod.name)
    if answer is None or answer.state is None:
        error, age = answer.error if answer else "", _span(now, pod.created)
        detail = sentences.supervisor_silent(pod.name, node=pod.node, age=age, error=error, history=_history(pod))
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    state = answer.state
    if state.phase is Phase.SERVING and (state.stage != 0 or pod.ready):
        return None
    text = sentences.stage_says(
        pod.group, stage=pod.stage, node=pod.node, said=clause(state.message, _LONGEST), restarts=pod.restarts
    )
    return Explanation(_cell_reason(state), text, pod.group)


def _cell_reason(state: CellState) -> Reason:
    if state.reason is CellReason.SERVING:  # it serves, the pod's readiness has not followed yet
        return Reason.ENGINE_STARTING
    return reason_from(state.reason, otherwise=Reason.ENGINE_STARTING)


def _span(now: datetime, since: datetime) -> str:
    return rough_seconds((now - since).total_seconds())

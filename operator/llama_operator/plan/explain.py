"""Why a group does not serve: one sentence with numbers, from what the scheduler, the kubelet and the cell say."""

import re
from datetime import datetime

from llama_operator.observe.deployment import PodView, Snapshot, Waiting
from llama_operator.plan.placement.shortage import shortage
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.ports import NodeCapacity
from llama_serving.config.reason_catalogue import PRIORITY, reason_from
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import CellState, Phase

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
_SECONDS = re.compile(r"\b(\d+) s\b")  # as supervisors write them


def explain_group(
    ordinal: int, pods: tuple[PodView, ...], stages: int, world: Snapshot, now: datetime
) -> Explanation | None:
    """The one thing to look at first in this group; None when it serves."""
    if any(pod.stage == 0 and pod.alive and pod.ready for pod in pods):
        return None
    holds = [hold for pod in pods if (hold := explain_pod(pod, world, now))]
    if len(pods) < stages:
        detail = f"group {ordinal} has {len(pods)} of its {stages} pods"
        holds.append(Explanation(Reason.POD_STARTING, detail, ordinal))
    return most_severe(tuple(holds))


def explain_gateway(world: Snapshot) -> tuple[Explanation, ...]:
    """Requests reach the groups through the gateways only."""
    ready, asked = gateways_ready(world)
    if ready:
        return ()
    stuck = (hold for pod in world.gateways if pod.alive and (hold := _not_running(pod, world.rooms)))
    why = "".join(f"; {hold.detail}" for hold in sorted(stuck, key=lambda hold: PRIORITY[hold.reason])[:1])
    detail = f"0 of {asked} gateways are ready, so no request is answered{why}"
    return (Explanation(Reason.GATEWAY_NOT_READY, detail if asked else "the gateway's Deployment is not there yet"),)


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
        return Explanation(Reason.POD_STARTING, f"pod {pod.name} is placed together with its group", pod.group)
    if not pod.node or pod.phase == "Pending":
        what = f"gets its containers on node {pod.node}" if pod.node else "has no node yet"
        detail = f"pod {pod.name} {what}, {_span(now, pod.created)} so far"
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    return None


def _not_running(pod: PodView, rooms: tuple[NodeCapacity, ...] | None) -> Explanation | None:
    """What the scheduler or the kubelet says against this pod."""
    if pod.unscheduled:
        return Explanation(Reason.UNSCHEDULABLE, f"pod {pod.name} {shortage(pod, rooms)}", pod.group)
    return _waiting(pod, pod.waiting) if pod.waiting else None


def _waiting(pod: PodView, waiting: Waiting) -> Explanation:
    where = f"pod {pod.name} on node {pod.node}"
    if waiting.reason in _IMAGE_WORDS:
        text = f"{where} has no image: {waiting.reason}: {_tail(waiting.message)}"
        return Explanation(Reason.IMAGE_UNAVAILABLE, text, pod.group)
    if waiting.reason == "CrashLoopBackOff":  # its message is the present pause, which says nothing of the cause
        return Explanation(Reason.CONTAINER_FAILING, f"{where}: {waiting.reason}{_history(pod)}", pod.group)
    text = f"{where}: {waiting.reason}: {_tail(waiting.message)}{_history(pod)}"
    return Explanation(Reason.CONTAINER_FAILING, text, pod.group)


def _history(pod: PodView) -> str:
    """Restarts and the last words of a container that has ended before."""
    if pod.ended is None:
        return ""
    last_words = pod.ended.message.strip().rpartition("\n")[2]  # the kubelet keeps the last lines of the log
    said = f": {_tail(last_words)}" if last_words else ""
    return f", {pod.restarts} restarts, it last ended with code {pod.ended.exit_code}{said}"


def _cell(pod: PodView, world: Snapshot, now: datetime) -> Explanation | None:
    answer = world.cells.get(pod.name)
    if answer is None or answer.state is None:
        error = f" ({answer.error})" if answer and answer.error else ""
        since = _span(now, pod.created)
        said = f"does not answer, {since} after it was made{error}{_history(pod)}"
        detail = f"pod {pod.name} on node {pod.node} {said}"
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    state = answer.state
    if state.phase is Phase.SERVING and (state.stage != 0 or pod.ready):
        return None
    return Explanation(_cell_reason(state), _cell_sentence(pod, state), pod.group)


def _cell_reason(state: CellState) -> Reason:
    if state.reason is CellReason.SERVING:  # it serves, the pod's readiness has not followed yet
        return Reason.ENGINE_STARTING
    return reason_from(state.reason, otherwise=Reason.ENGINE_STARTING)


def _cell_sentence(pod: PodView, state: CellState) -> str:
    again = f", {pod.restarts} restarts" if pod.restarts else ""
    message = _SECONDS.sub(lambda found: rough_seconds(float(found[1])), _tail(state.message))
    return f"group {pod.group} stage {pod.stage} on {pod.node}: {message}{again}"


def _span(now: datetime, since: datetime) -> str:
    return rough_seconds((now - since).total_seconds())


def rough_seconds(seconds: float) -> str:
    """``40 s``, ``4 min``: steps of 10 s in the first two minutes, then of a minute.

    A long wait must not rewrite the status at every pass, whose own event would wake the loop for the next.
    """
    if seconds < 120:
        return f"{max(int(seconds) // 10 * 10, 0)} s"
    return f"{int(seconds) // 60} min"


def _tail(text: str, limit: int = 300) -> str:
    """The end of what somebody else said, on one line and without its full stop: a sentence goes on around it."""
    line = " ".join(text.split())
    cut = line if len(line) <= limit else f"... {line[-limit:].partition(' ')[2]}"
    return cut.rstrip(".")

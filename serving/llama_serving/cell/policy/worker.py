"""A worker's decisions: wait for the leader, join it, and end when the leader's session has ended.

A leader that starts again begins a new session, which has another name: the worker then ends too, and its container
joins the new one. Waiting for a leader has no deadline of its own: nothing is gained by starting again, and
the kubelet's backoff would only delay the join.
"""

from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.policy.state_machine import (
    NO_RAY,
    Action,
    CellFault,
    Decision,
    RayView,
    StartStep,
    Status,
    SupervisorMemory,
    conclude,
)
from llama_serving.config.cell import CellTimeouts
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from llama_serving.config.wording import rough_seconds

JOIN_DEADLINE: Final = 180.0  # seconds from START_RAY to being listed by the leader
LEADER_LOST: Final = 20.0  # seconds of silence of the leader's supervisor; a lost GCS ends Ray here in 5

_JOINABLE: Final = frozenset({Phase.JOINING, Phase.LOADING, Phase.SERVING})


@dataclass(frozen=True)
class LeaderReport:
    """What the leader's supervisor answers."""

    ip: str
    phase: Phase
    session: str  # another one: it has started again
    in_flight: int | None


@dataclass(frozen=True)
class WorkerView:
    """Everything that a worker sees in one look."""

    leader_host: str
    stopping: bool = False
    weights_fault: CellFault | None = None
    device_fault: CellFault | None = None
    ray: RayView = NO_RAY
    leader: LeaderReport | None = None
    leader_error: str = ""  # why there is no report
    session: str | None = None  # that of the leader whose cluster this worker joined
    joined: bool = False


def decide(memory: SupervisorMemory, view: WorkerView, *, timeouts: CellTimeouts, now: float) -> Decision:
    """Return what a worker does next."""
    if view.leader is not None and view.leader.phase in _JOINABLE:
        memory = memory.finish(StartStep.LEADER, now)
    if view.joined:
        memory = memory.finish(StartStep.JOIN, now)
    if view.stopping:
        return _drain(memory, view, timeouts=timeouts, now=now)
    if view.ray.exit_code is not None:
        return _end(memory, _ray_ended(view), now=now)
    if not view.ray.started:
        return _before(memory, view, now=now)
    memory = _note_leader(memory, view, now)
    if (ended := _session_ended(memory, view, now)) is not None:
        return _end(memory, ended, now=now)
    return _member(memory, view, now=now)


def _before(memory: SupervisorMemory, view: WorkerView, *, now: float) -> Decision:
    if view.weights_fault is not None:
        return conclude(memory, Status(Phase.FAILED, view.weights_fault.reason, view.weights_fault.message), now=now)
    if view.device_fault is not None:
        return conclude(memory, Status(Phase.STARTING, view.device_fault.reason, view.device_fault.message), now=now)
    waited = now - (memory.since if memory.status.phase is Phase.JOINING else now)
    if view.leader is None:
        sentence = f"leader {view.leader_host} does not answer ({view.leader_error}), {rough_seconds(waited)} so far"
        return conclude(memory, Status(Phase.JOINING, CellReason.LEADER_NOT_REACHED, sentence), now=now)
    if view.leader.phase not in _JOINABLE:
        sentence = f"leader {view.leader_host} is {view.leader.phase.value}, {rough_seconds(waited)} so far"
        return conclude(memory, Status(Phase.JOINING, CellReason.RAY_STARTING, sentence), now=now)
    status = Status(Phase.JOINING, CellReason.RAY_STARTING, f"joining the leader at {view.leader.ip}")
    return conclude(memory, status, now=now, actions=(Action.START_RAY,))


def _member(memory: SupervisorMemory, view: WorkerView, *, now: float) -> Decision:
    if view.joined:
        status = Status(Phase.SERVING, CellReason.SERVING, f"part of the cluster of {view.leader_host}", ready=True)
        return conclude(memory, status, now=now)
    waited = now - memory.finished.get(StartStep.LEADER, memory.since)
    if waited > JOIN_DEADLINE:
        return _end(memory, f"the leader did not list this stage within {JOIN_DEADLINE:.0f} s", now=now)
    sentence = f"joining leader {view.leader_host}, {rough_seconds(waited)} so far"
    return conclude(memory, Status(Phase.JOINING, CellReason.RAY_STARTING, sentence), now=now)


def _ray_ended(view: WorkerView) -> str:
    cause = "the leader's session has ended" if view.joined else "it did not join; the container's log says why"
    return f"Ray ended with exit code {view.ray.exit_code}: {cause}"


def _note_leader(memory: SupervisorMemory, view: WorkerView, now: float) -> SupervisorMemory:
    if view.leader is not None:
        return replace(memory, unwell_since=None)
    return memory if memory.unwell_since is not None else replace(memory, unwell_since=now)


def _session_ended(memory: SupervisorMemory, view: WorkerView, now: float) -> str | None:
    if view.leader is not None and view.session not in (None, view.leader.session):
        return f"leader {view.leader_host} has restarted; leaving its old session"
    if memory.unwell_since is not None and now - memory.unwell_since > LEADER_LOST:
        return f"leader {view.leader_host} has not answered for {LEADER_LOST:.0f} s ({view.leader_error})"
    return None


def _drain(memory: SupervisorMemory, view: WorkerView, *, timeouts: CellTimeouts, now: float) -> Decision:
    """Stay a part of the pipeline until the leader has nothing in flight or is gone: requests need every stage."""
    since = now if memory.draining_since is None else memory.draining_since
    memory = replace(memory, draining_since=since)
    running = view.leader.in_flight or 0 if view.leader is not None and view.joined else 0
    over = running == 0 or now - since >= timeouts.drain
    sentence = (
        f"draining; the leader has {running} requests in flight, {now - since:.0f} of at most {timeouts.drain:.0f} s"
    )
    status = Status(Phase.DRAINING, CellReason.DRAINING, sentence)
    return conclude(memory, status, now=now, exit_code=0 if over else None)


def _end(memory: SupervisorMemory, sentence: str, *, now: float) -> Decision:
    return conclude(memory, replace(memory.status, message=sentence, ready=False), now=now, exit_code=1)

"""The leader's decisions: Ray up, all stages joined, app deployed, first token, and then watching.

==================  ====================================================================================
seen                follows
==================  ====================================================================================
unreadable weights  FAILED until they can be read; nothing is started
devices not usable  STARTING until they are; nothing is started
no Ray              START_RAY; STARTING until the cluster lists its nodes
stages missing      JOINING, at most ``timeouts.join``
weights not ready   LOADING, as long as it takes; FAILED while a stage refuses them
all joined          DEPLOY; LOADING, at most ``timeouts.start``; FIRST_TOKEN once the replica answers
first token         SERVING; ready with measured weights (``weight_swap``) while the last answer is fresh
Serve gave up       the reason is shown for ``SHOW_FAILURE`` seconds, then the container restarts; it is a device's
                    where the driver or the engine's last error names one
model refused       FAILED until its files change, then the container restarts; only with devices that are well
Ray ended           the container restarts
SIGTERM             DRAINING until nothing is in flight for ``SETTLE`` seconds, at most ``timeouts.drain``
==================  ====================================================================================
"""

from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.policy.devices import engine_device_fault
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
from llama_serving.cell.policy.weight_swap import SHOW_FAILURE, DesiredWeights, EngineView, decide_weights
from llama_serving.config.cell import CellTimeouts
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from llama_serving.config.wording import rough_seconds

RAY_DEADLINE: Final = 180.0  # seconds that Ray's own start may take
FRESH: Final = 10.0  # an answer of an idle engine older than this is none; a dead one is seen at once
FRESH_BUSY: Final = 60.0  # a step with long prompts keeps the engine core from answering in between
COUNTED_FROM: Final = 10.0  # a shorter silence is said without its length
SETTLE: Final = 1.0  # seconds without a request after which a drained leader goes


@dataclass(frozen=True)
class AppView:
    """What Serve says of the app."""

    failed: bool
    status: str
    error: str = ""  # the engine's last error in one sentence; empty where there is none
    refused: bool = False  # the model cannot be served as configured: trying again is useless


@dataclass(frozen=True)
class LeaderView:
    """Everything that a leader sees in one look."""

    stages: int
    desired: DesiredWeights
    stopping: bool = False
    weights_fault: CellFault | None = None  # of weights that nobody stages
    device_fault: CellFault | None = None  # before Ray starts, and once the engine has failed
    ray: RayView = NO_RAY
    joined: frozenset[int] | None = None  # None: the cluster does not answer yet
    deployed: bool = False
    app: AppView | None = None
    engine: EngineView | None = None
    answered: bool = False  # a real request has been answered since the deployment
    intact: bool = True  # the nodes on which the replica was started are still those of the stages
    files_changed: bool = False  # the model's files are others than at the deployment


def decide(memory: SupervisorMemory, view: LeaderView, *, timeouts: CellTimeouts, now: float) -> Decision:
    """Return what a leader does next."""
    memory = _note(memory, view, now)
    if view.stopping:
        return _drain(memory, view, timeouts=timeouts, now=now)
    if view.ray.exit_code is not None:
        return _restart(memory, f"Ray ended with exit code {view.ray.exit_code}", now=now)
    if not view.ray.started:
        return _start(memory, view, now=now)
    if view.joined is None and not view.deployed:
        return _await_ray(memory, now=now)
    if not view.deployed:
        return _await_stages(memory, view, timeouts=timeouts, now=now)
    if view.app is not None and view.app.failed and not (view.answered and _answers(view)):
        return _app_failed(memory, view.app, view, now=now)
    if not view.answered:
        return _await_engine(memory, view, timeouts=timeouts, now=now)
    return _watch(memory, view, timeouts=timeouts, now=now)


def _note(memory: SupervisorMemory, view: LeaderView, now: float) -> SupervisorMemory:
    if view.joined is not None:
        memory = memory.finish(StartStep.RAY, now)
    if view.deployed:
        memory = memory.finish(StartStep.JOIN, now)
    if view.engine is not None:
        memory = memory.finish(StartStep.ENGINE, now)
    if view.answered:
        memory = memory.finish(StartStep.FIRST_TOKEN, now)
    if view.answered and view.desired.measured:
        memory = memory.finish(StartStep.VERIFICATION, now)
    return memory


def _start(memory: SupervisorMemory, view: LeaderView, *, now: float) -> Decision:
    if view.weights_fault is not None:
        return conclude(memory, Status(Phase.FAILED, view.weights_fault.reason, view.weights_fault.message), now=now)
    if view.device_fault is not None:
        return conclude(memory, Status(Phase.STARTING, view.device_fault.reason, view.device_fault.message), now=now)
    status = Status(Phase.STARTING, CellReason.RAY_STARTING, "Ray is starting")
    return conclude(memory, status, now=now, actions=(Action.START_RAY,))


def _await_ray(memory: SupervisorMemory, *, now: float) -> Decision:
    waited = now - memory.since
    if waited > RAY_DEADLINE:
        return _restart(memory, f"Ray did not come up within {RAY_DEADLINE:.0f} s", now=now)
    status = Status(Phase.STARTING, CellReason.RAY_STARTING, f"Ray is starting, {rough_seconds(waited)} so far")
    return conclude(memory, status, now=now)


def _await_stages(memory: SupervisorMemory, view: LeaderView, *, timeouts: CellTimeouts, now: float) -> Decision:
    missing = _missing(view)
    if not missing:
        return _deploy(memory, view.desired.staging, now=now)
    waited = now - memory.finished[StartStep.RAY]
    count = f"{view.stages - len(missing)} of {view.stages} stages have joined"
    if waited > timeouts.join:
        return _restart(memory, f"only {count} within {timeouts.join:.0f} s; missing: {_names(missing)}", now=now)
    sentence = f"{count}; waiting for {_names(missing)}, {rough_seconds(waited)} so far"
    return conclude(memory, Status(Phase.JOINING, CellReason.STAGES_NOT_JOINED, sentence), now=now)


def _deploy(memory: SupervisorMemory, staging: CellFault | None, *, now: float) -> Decision:
    if staging is not None:
        phase = Phase.FAILED if staging.reason is CellReason.WEIGHTS_REFUSED else Phase.LOADING
        return conclude(memory, Status(phase, staging.reason, staging.message), now=now)
    status = Status(Phase.LOADING, CellReason.ENGINE_STARTING, "all stages have joined; deploying the engine")
    return conclude(memory, status, now=now, actions=(Action.DEPLOY,))


def _await_engine(memory: SupervisorMemory, view: LeaderView, *, timeouts: CellTimeouts, now: float) -> Decision:
    waited = now - memory.finished[StartStep.JOIN]
    if waited > timeouts.start:
        return _restart(memory, f"the engine did not answer within {timeouts.start:.0f} s", now=now)
    if view.engine is not None:
        status = Status(Phase.LOADING, CellReason.ENGINE_STARTING, "the engine is up; requesting a first token")
        return conclude(memory, status, now=now, actions=(Action.FIRST_TOKEN,))
    sentence = f"the engine is starting, {rough_seconds(waited)} so far{_left(view)}"
    status = Status(Phase.LOADING, CellReason.ENGINE_STARTING, sentence)
    return conclude(memory, status, now=now)


def _watch(memory: SupervisorMemory, view: LeaderView, *, timeouts: CellTimeouts, now: float) -> Decision:
    if view.engine is not None and _answers(view):
        memory = replace(memory, unwell_since=None)
        return decide_weights(memory, view.engine, view.desired, start=timeouts.start, now=now)
    silent = view.engine.seconds_ago if view.engine is not None else 0.0  # a busy engine has time before it is noticed
    since = now - silent if memory.unwell_since is None else memory.unwell_since
    memory = replace(memory, unwell_since=since)
    sentence = f"{_silence(now - since)}{_cause(view)}"
    if now - since > timeouts.start:
        return _restart(memory, sentence, now=now)
    return conclude(memory, Status(Phase.SERVING, CellReason.ENGINE_UNHEALTHY, sentence), now=now)


def _silence(seconds: float) -> str:
    """Say that the engine is silent; for how long only from when ``rough_seconds`` has more than 0 s to say."""
    if seconds < COUNTED_FROM:
        return "the engine does not answer"
    return f"the engine has not answered for {rough_seconds(seconds)}"


def _app_failed(memory: SupervisorMemory, app: AppView, view: LeaderView, *, now: float) -> Decision:
    if app.refused and view.device_fault is None:
        status = Status(
            Phase.FAILED, CellReason.MODEL_REFUSED, f"the model cannot be served as configured: {app.error}"
        )
        return conclude(memory, status, now=now, exit_code=1 if view.files_changed else None)
    since = now if memory.failed_since is None else memory.failed_since
    memory = replace(memory, failed_since=since)
    reason, said = _failure_of(app, view.device_fault)
    status = Status(Phase.LOADING, reason, f"the engine failed: {said}")
    return conclude(memory, status, now=now, exit_code=1 if now - since >= SHOW_FAILURE else None)


def _failure_of(app: AppView, fault: CellFault | None) -> tuple[CellReason, str]:
    """Return reason and words of a failed engine: the driver's where it has something against this stage's devices."""
    said = app.error or app.status
    if fault is not None:
        return fault.reason, f"{said}; {fault.message}"
    return engine_device_fault(said) or CellReason.ENGINE_FAILED, said


def _drain(memory: SupervisorMemory, view: LeaderView, *, timeouts: CellTimeouts, now: float) -> Decision:
    since = now if memory.draining_since is None else memory.draining_since
    running = view.engine.in_flight if view.engine is not None and view.answered else 0
    idle = None if running else (now if memory.idle_since is None else memory.idle_since)
    memory = replace(memory, draining_since=since, idle_since=idle)
    over = now - since >= timeouts.drain or (idle is not None and now - idle >= SETTLE)
    sentence = f"draining; {running} requests in flight, {now - since:.0f} of at most {timeouts.drain:.0f} s"
    status = Status(Phase.DRAINING, CellReason.DRAINING, sentence)
    return conclude(memory, status, now=now, exit_code=0 if over else None)


def _restart(memory: SupervisorMemory, sentence: str, *, now: float) -> Decision:
    """End the container; the kubelet restarts it, with its own backoff."""
    status = replace(memory.status, message=sentence, ready=False)
    return conclude(memory, status, now=now, exit_code=1)


def _answers(view: LeaderView) -> bool:
    """Return whether the engine answers, whatever Serve says of it; one that has lost a stage only seems to."""
    engine = view.engine
    if engine is None or not view.intact:
        return False
    # While weights are swapped the core answers nothing; that has a deadline of its own.
    # One that is seen to compute is slow, not ill: vLLM ends a step that takes too long.
    return engine.swapping or engine.computing or engine.seconds_ago <= (FRESH_BUSY if engine.in_flight else FRESH)


def _missing(view: LeaderView) -> tuple[int, ...]:
    return tuple(sorted(set(range(view.stages)) - (view.joined or frozenset())))


def _names(stages: tuple[int, ...]) -> str:
    return f"stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))}"


def _left(view: LeaderView) -> str:
    """Name the stages that are known to be gone; a cluster that does not list its nodes says nothing of them."""
    missing = () if view.joined is None else _missing(view)
    return f"; {_names(missing)} left the cluster" if missing else ""


def _cause(view: LeaderView) -> str:
    if left := _left(view):
        return left
    if not view.intact:
        return "; a stage has restarted and is not part of the engine yet"
    if view.engine is None:
        return "; its replica is being replaced" if view.app is None or view.app.status != "RUNNING" else ""
    return f", with {view.engine.in_flight} requests in flight"

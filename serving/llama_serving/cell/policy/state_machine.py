"""What the decisions of leader and worker share: views, what follows from them, and what is remembered.

Rule: a supervisor is a loop of ``decide(memory, view, now) -> Decision``. Deciding reads no clock, no file and no
socket; the phase follows from the facts of the view (a level), not from the phase before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase


class Action(StrEnum):
    """Something to be done before the next look."""

    START_RAY = "start ray"
    DEPLOY = "deploy the app"
    FIRST_TOKEN = "request one token from the engine"
    SWAP = "deploy other weights"
    VERIFY = "measure the engine"


class StartStep(StrEnum):
    """A finished step of the start, in the order in which they happen."""

    LEADER = "leader"  # worker: the leader can be joined
    RAY = "ray"  # leader: Ray's own start, until it lists its nodes
    JOIN = "join"  # leader: all stages are in the cluster; worker: this one is
    ENGINE = "engine"  # the replica answers, so all stages have loaded their weights
    FIRST_TOKEN = "first_token"  # the engine has answered a real request
    VERIFICATION = "verification"  # the weights in the engine have been measured


@dataclass(frozen=True)
class CellFault:
    """Why something cannot go on: a machine word and a sentence."""

    reason: CellReason
    message: str


@dataclass(frozen=True)
class RayView:
    """The ``ray start`` child."""

    started: bool = False
    exit_code: int | None = None  # set once it has ended


NO_RAY: Final = RayView()


@dataclass(frozen=True)
class Status:
    """Phase, reason and sentence of now."""

    phase: Phase
    reason: CellReason
    message: str
    ready: bool = False


@dataclass(frozen=True)
class SupervisorMemory:
    """What is kept between two decisions. Times are seconds of a monotonic clock."""

    started: float
    status: Status
    since: float  # of the phase
    finished: Mapping[StartStep, float] = field(default_factory=dict)  # when each step was first seen finished
    draining_since: float | None = None
    idle_since: float | None = None  # while draining: since when nothing is in flight
    unwell_since: float | None = None  # serving, but the engine does not answer; worker: the leader does not
    failed_since: float | None = None  # the engine gave up
    swap_since: float | None = None  # the leader wants other weights in the engine

    def finish(self, step: StartStep, now: float) -> "SupervisorMemory":
        """Note that a step is finished; the first time counts."""
        return self if step in self.finished else replace(self, finished={**self.finished, step: now})

    def timings(self) -> dict[str, float]:
        """Return the seconds that each finished step took, each from the end of the one before."""
        spent: dict[str, float] = {}
        before = self.started
        for step in StartStep:
            if step in self.finished:
                spent[step.value] = round(self.finished[step] - before, 2)
                before = self.finished[step]
        return spent


@dataclass(frozen=True)
class Decision:
    """What follows: the memory of now, what to do, or the exit code with which the supervisor ends."""

    memory: SupervisorMemory
    actions: tuple[Action, ...] = ()
    exit_code: int | None = None


def initial_memory(now: float) -> SupervisorMemory:
    """Return the memory of a supervisor that has seen nothing yet."""
    return SupervisorMemory(started=now, since=now, status=Status(Phase.STARTING, CellReason.RAY_STARTING, "starting"))


def conclude(
    memory: SupervisorMemory,
    status: Status,
    *,
    now: float,
    actions: tuple[Action, ...] = (),
    exit_code: int | None = None,
) -> Decision:
    """Put a status into the memory; a phase keeps its start as long as it lasts."""
    since = memory.since if memory.status.phase is status.phase else now
    return Decision(replace(memory, status=status, since=since), actions, exit_code)

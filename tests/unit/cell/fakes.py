"""A cluster, an engine and neighbours that do what a test says. They implement the ports of the supervisor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_serving.cell.leader import AppView
from llama_serving.cell.machine import NO_RAY, Fault, RayView
from llama_serving.cell.ports import StageUnreachableError
from llama_serving.cell.replica_state import ReplicaState
from llama_serving.config.state import CellState


@dataclass
class FakeClock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRay:
    started_with: list[str | None] = field(default_factory=list)
    exit_code: int | None = None
    stopped: bool = False

    async def start(self, *, leader_ip: str | None) -> None:
        self.started_with.append(leader_ip)

    def view(self) -> RayView:
        return RayView(started=True, exit_code=self.exit_code) if self.started_with else NO_RAY

    async def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeCluster:
    """Answers once ``nodes_now`` is set; takes the app unless told otherwise."""

    nodes_now: dict[str, int] | None = None
    takes: bool = True
    documents: list[Mapping[str, Any]] = field(default_factory=list)
    app_now: AppView | None = None

    async def nodes(self, host: str) -> Mapping[str, int] | None:
        return None if self.nodes_now is None else dict(self.nodes_now)

    async def deploy(self, document: Mapping[str, Any]) -> bool:
        self.documents.append(document)
        return self.takes

    async def app(self) -> AppView | None:
        return self.app_now


@dataclass
class FakeEngine:
    state_now: ReplicaState | None = None
    speaks: bool = True
    asked: int = 0

    async def state(self) -> ReplicaState | None:
        return self.state_now

    async def first_token(self) -> bool:
        self.asked += 1
        return self.speaks


@dataclass
class FakeWeights:
    fault_now: Fault | None = None
    version: int = 1

    async def fault(self) -> Fault | None:
        return self.fault_now

    def fingerprint(self) -> object:
        return self.version


@dataclass
class FakeLog:
    cause: str = ""

    def root_cause(self) -> str:
        return self.cause


@dataclass
class FakeStages:
    """The leader's supervisor as a worker sees it."""

    state_now: CellState | None = None

    async def state(self, host: str) -> tuple[str, CellState]:
        if self.state_now is None:
            raise StageUnreachableError("its name does not resolve yet")
        return "10.0.0.1", self.state_now


def replica(**changes: Any) -> ReplicaState:
    values: dict[str, Any] = {
        "deployment": "demo",
        "group": 1,
        "revision": "r1",
        "pid": 7,
        "served_name": "llama",
        "weights": "w1",
        "swapping": False,
        "in_flight": 0,
        "engine_seconds_ago": 0.2,
        "timings": {"engine": 12.5},
    }
    return ReplicaState(**values | changes)

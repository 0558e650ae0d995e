"""A cluster, an engine and neighbours that do what a test says. They implement the ports of the supervisor."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import NO_RAY, CellFault, RayView
from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter
from llama_serving.cell.shared.replica_state import RankReport, ReplicaState
from llama_serving.cell.supervisor.ports import StageUnreachableError
from llama_serving.cell.supervisor.verification import EngineError
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagedWeights, StagingState
from llama_serving.config.state import CellState, Hang, RankProgress


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
    """Answers once ``nodes_now`` is set; accepts the app unless ``accepts`` is false."""

    nodes_now: dict[str, int] | None = None
    accepts: bool = True
    documents: list[Mapping[str, Any]] = field(default_factory=list)
    deployed: list[WeightsRef] = field(default_factory=list)
    app_now: AppView | None = None
    hosts: list[str] = field(default_factory=list)

    async def nodes(self, host: str) -> Mapping[str, int] | None:
        self.hosts.append(host)
        return None if self.nodes_now is None else dict(self.nodes_now)

    async def deploy(self, document: Mapping[str, Any], weights: WeightsRef) -> bool:
        self.documents.append(document)
        self.deployed.append(weights)
        return self.accepts

    async def app(self) -> AppView | None:
        return self.app_now


@dataclass
class FakeEngine:
    state_now: ReplicaState | None = None
    speaks: bool = True
    asked: int = 0
    questions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    breaks: str = ""
    hangs: bool = False
    says: str = "Paris"

    async def state(self) -> ReplicaState | None:
        return self.state_now

    async def first_token(self) -> bool:
        self.asked += 1
        return self.speaks

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.questions.append((route, dict(body)))
        if self.hangs:
            await asyncio.Event().wait()
        if self.breaks:
            raise EngineError(self.breaks)
        return answer(body, self.says)


@dataclass
class FakeWeights:
    fault_now: CellFault | None = None
    version: int = 1

    async def fault(self) -> CellFault | None:
        return self.fault_now

    def fingerprint(self) -> object:
        return self.version


@dataclass
class FakeDevices:
    fault_now: CellFault | None = None
    asked: int = 0

    async def fault(self) -> CellFault | None:
        self.asked += 1
        return self.fault_now


@dataclass
class FakeControl:
    """The folder that is shared with the stager."""

    desired_now: DesiredState | None = None
    staging_now: StagingState | None = None
    full: bool = False

    def desired_state(self) -> DesiredState | None:
        return self.desired_now

    def store(self, desired: DesiredState, *, signed: bytes = b"") -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.desired_now, self.signed_now = desired, signed

    def staging(self) -> StagingState | None:
        return self.staging_now


@dataclass
class FakeWatch:
    """The watch of a stage that has found what a test says."""

    hang: Hang | None = None
    ranks: tuple[RankProgress, ...] = ()
    age: float = 0.0
    work_due: bool = False
    computing: bool = False
    last_replica: ReplicaState | None = None
    gives_up: str = ""
    fails: Exception | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def outage(self) -> Hang | None:
        return self.hang if self.hang is not None and self.hang.outage else None

    async def run(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@dataclass
class FakeLog:
    cause: str = ""

    def root_cause(self) -> str:
        return self.cause


@dataclass
class FakeTransports:
    """What the ranks said of their connections."""

    now: tuple[str, ...] = ()

    def transports(self) -> tuple[str, ...]:
        return self.now


@dataclass
class FakeStages:
    """Another stage's supervisor."""

    state_now: CellState | None = None
    hosts: list[str] = field(default_factory=list)

    async def state(self, host: str) -> tuple[str, CellState]:
        self.hosts.append(host)
        if self.state_now is None:
            raise StageUnreachableError("its name does not resolve yet")
        return "10.0.0.1", self.state_now


def replica(**changes: Any) -> ReplicaState:
    values: dict[str, Any] = {
        "deployment": "demo",
        "group": 1,
        "pod_hash": "r1",
        "pid": 7,
        "served_name": "llama",
        "weights": holds("w1"),
        "stages": (rank(0), rank(1)),
        "in_flight": 0,
        "engine_seconds_ago": 0.2,
        "timings": {"engine": 12.5},
    }
    return ReplicaState(**values | changes)


def holds(name: str) -> WeightsRef:
    """Weights that nobody staged, as the replica was given them."""
    return WeightsRef(path=f"/models/{name}", id=name, served_name="llama")


def rank(number: int, **changes: Any) -> RankReport:
    values: dict[str, Any] = {"rank": number, "host": f"stage-{number}", "pid": 9, "layers": (15 * number, 15)}
    return RankReport(**values | changes)


def ready(*digests: str, **changes: Any) -> StagingState:
    """A stager's report on some weights."""
    said: dict[str, Any] = {"id": "w", "outcome": "ready"} | changes
    return StagingState(weights=tuple(StagedWeights(digest=digest, **said) for digest in digests))


def answer(body: Mapping[str, Any], says: str) -> Mapping[str, Any]:
    """What an engine answers while it is measured; every token has a log-probability of -2."""
    if "messages" in body:
        return {"choices": [{"message": {"content": says}}]}
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    logprobs: list[dict[str, dict[str, float]] | None] = [None, {"7": {"logprob": -2.0}}, {"8": {"logprob": -2.0}}]
    said = {"text": says, "token_ids": [1, 2, 3], "prompt_logprobs": logprobs}
    return {"choices": [{"index": index, **said} for index in range(len(prompts))]}


class FakeAdapters:
    """The replica's routes for adapters, which nobody asks for in a group without any."""

    async def tell(self, table: AdapterTable) -> None:
        raise AssertionError(table)

    async def load(self, adapter: EngineAdapter) -> str:
        raise AssertionError(adapter)

    async def unload(self, adapter: EngineAdapter) -> str:
        raise AssertionError(adapter)

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        raise AssertionError((route, body))

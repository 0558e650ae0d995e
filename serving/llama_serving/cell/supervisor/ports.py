"""What a supervisor needs of the outside. Adapters implement these, and tests bring fakes."""

from collections.abc import Mapping
from typing import Any, Protocol

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import CellFault, RayView
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, StagingState
from llama_serving.config.state import CellState, Hang, RankProgress


class Clock(Protocol):
    """Seconds of a monotonic clock."""

    def __call__(self) -> float:
        """Return the time of now."""


class RayControl(Protocol):
    """The ``ray start`` child of this pod."""

    async def start(self, *, leader_ip: str | None) -> None:
        """Start it: the head where ``leader_ip`` is None, else a worker of that leader."""

    def view(self) -> RayView:
        """Return whether it was started, and how it ended."""

    async def stop(self) -> None:
        """End it and everything that it started."""


class ClusterApi(Protocol):
    """The leader's cluster, over the REST API of Ray and Serve."""

    async def nodes(self, host: str) -> Mapping[str, int] | None:
        """Return the stage of each node that is alive in the cluster of ``host``; None where it does not answer."""

    async def deploy(self, document: Mapping[str, Any], weights: WeightsRef) -> bool:
        """Hand Serve the app, whose engine is to hold ``weights``; return whether it accepted."""

    async def app(self) -> AppView | None:
        """Return the status of the app in Serve; None where it does not answer."""


class EngineApi(Protocol):
    """The replica's own routes."""

    async def state(self) -> ReplicaState | None:
        """Return the replica's state; None where it does not answer."""

    async def first_token(self) -> bool:
        """Request one token of a completion; return whether it came."""

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call one of the OpenAI routes. Raises EngineError."""


class WeightsFolder(Protocol):
    """The files that the engine loads."""

    async def fault(self) -> CellFault | None:
        """Return what keeps the engine from them; None where nothing does."""

    def fingerprint(self) -> object:
        """Return a value that differs when a file was added, removed or written."""


class Devices(Protocol):
    """The devices of this stage."""

    async def fault(self) -> CellFault | None:
        """Return what stands against them; None where nothing does, or where the stage computes on CPU."""


class Control(Protocol):
    """The folder between this supervisor and its stager."""

    def desired_state(self) -> DesiredState | None:
        """Return the last desired state; None where there was none."""

    def store(self, desired: DesiredState, *, signed: bytes = b"") -> None:
        """Store the operator's desired state. Raises OSError when it cannot be written."""

    def staging(self) -> StagingState | None:
        """Return what the stager reports; what it reports as ready can be loaded afterwards."""


class FailureLog(Protocol):
    """What the engine core wrote before it ended."""

    def root_cause(self) -> str:
        """Return one sentence; empty where there is none."""


class TransportLog(Protocol):
    """What the ranks of this stage said of their connections."""

    def transports(self) -> tuple[str, ...]:
        """Return what was taken between ranks, such as NET/IB/GDRDMA; empty where nothing is known."""


class StageApi(Protocol):
    """Another stage's supervisor."""

    async def state(self, host: str) -> tuple[str, CellState]:
        """Return address and state.

        Raises:
            StageUnreachableError: its name does not resolve, or it does not answer.
        """


class Watch(Protocol):
    """The watch of this stage's processes, beside the loop."""

    @property
    def hang(self) -> Hang | None:
        """What hangs, or did until its engine was replaced."""

    @property
    def outage(self) -> Hang | None:
        """The same where the engine does not serve without it."""

    @property
    def age(self) -> float:
        """Seconds since the last finished look."""

    @property
    def ranks(self) -> tuple[RankProgress, ...]:
        """Heartbeat of the ranks on this stage."""

    @property
    def work_due(self) -> bool:
        """Whether the leader's engine has something to do."""

    @property
    def computing(self) -> bool:
        """Whether the leader's engine works on something, however slowly. Never on a device that cannot be seen."""

    @property
    def last_replica(self) -> ReplicaState | None:
        """What the replica said last, while it is there and was silent for a few seconds only."""

    @property
    def gives_up(self) -> str:
        """Why this container has to end; empty while it has not."""

    async def run(self) -> None:
        """Watch until cancelled."""


class StageUnreachableError(Exception):
    """Another stage's supervisor does not answer; the text says why in a few words."""

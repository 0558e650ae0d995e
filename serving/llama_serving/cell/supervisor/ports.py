"""What a supervisor needs of the outside. Adapters implement these; tests bring their own."""

from collections.abc import Mapping
from typing import Any, Protocol

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import Fault, RayView
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.desired import DesiredState, StagingState
from llama_serving.config.state import CellState


class Clock(Protocol):
    """Seconds of a monotonic clock."""

    def __call__(self) -> float:
        """Now."""


class RayControl(Protocol):
    """The ``ray start`` child of this pod."""

    async def start(self, *, leader_ip: str | None) -> None:
        """Start it: the head where ``leader_ip`` is None, else a worker of that leader."""

    def view(self) -> RayView:
        """Whether it was started, and how it ended."""

    async def stop(self) -> None:
        """End it and everything that it started."""


class ClusterApi(Protocol):
    """The leader's cluster, over the REST API of Ray and Serve."""

    async def nodes(self, host: str) -> Mapping[str, int] | None:
        """Stage of each node that is alive in the cluster of ``host``; None where it does not answer."""

    async def deploy(self, document: Mapping[str, Any], load: Load) -> bool:
        """Hand Serve the app, whose engine is to hold ``load``; whether it took it."""

    async def app(self) -> AppView | None:
        """What Serve says of the app; None where it does not answer."""


class EngineApi(Protocol):
    """The replica's own routes."""

    async def state(self) -> ReplicaState | None:
        """The replica's state; None where it does not answer."""

    async def first_token(self) -> bool:
        """Ask for one token of a completion; whether it came."""

    async def ask(self, route: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One of the OpenAI routes. Raises EngineError."""


class WeightsFolder(Protocol):
    """The files that the engine loads."""

    async def fault(self) -> Fault | None:
        """What keeps the engine from them; None where nothing does."""

    def fingerprint(self) -> object:
        """Differs when a file was added, removed or written."""


class Control(Protocol):
    """The folder between this supervisor and its stager."""

    def wish(self) -> DesiredState | None:
        """The last wish; None where there was none."""

    def keep(self, wish: DesiredState) -> None:
        """Take a wish. Raises OSError when it cannot be kept."""

    def staging(self) -> StagingState | None:
        """What the stager says; what it says is ready can be loaded afterwards."""


class FailureLog(Protocol):
    """What the engine core wrote before it ended."""

    def root_cause(self) -> str:
        """One sentence; empty where there is none."""


class StageApi(Protocol):
    """Another stage's supervisor."""

    async def state(self, host: str) -> tuple[str, CellState]:
        """Address and state.

        Raises:
            StageUnreachableError: its name does not resolve, or it does not answer.
        """


class StageUnreachableError(Exception):
    """Another stage's supervisor does not answer; the text says why in a few words."""

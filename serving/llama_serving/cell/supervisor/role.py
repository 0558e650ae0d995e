"""Leader and worker as the supervisor's loop sees them: look, decide, do."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from llama_serving.cell.policy.state_machine import Action, Decision, SupervisorMemory
from llama_serving.config.desired import Measurement, StagingState, SwapState
from llama_serving.config.state import AdapterProgress


@dataclass(frozen=True)
class Facts:
    """What a role adds to the state that the supervisor publishes."""

    stages_joined: int = 0
    weights: str = ""
    answered: bool = False  # the engine of the group has answered
    in_flight: int | None = None
    running: int | None = None
    waiting: int | None = None
    timings: dict[str, float] = field(default_factory=dict)
    staging: StagingState | None = None
    swap: SwapState | None = None
    measurement: Measurement | None = None
    tokens_per_second: float | None = None
    adapters: tuple[AdapterProgress, ...] = ()


class Role(Protocol):
    """One of the two kinds of stage."""

    async def look(self, *, stopping: bool) -> Any:
        """See everything that matters."""

    def decide(self, memory: SupervisorMemory, view: Any, *, now: float) -> Decision:
        """Return what follows from the view."""

    async def do(self, action: Action) -> None:
        """Carry out one action."""

    def facts(self) -> Facts:
        """Return what the role adds to the published state."""

    async def stop(self) -> None:
        """End what this pod runs."""

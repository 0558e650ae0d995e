"""A stage whose image is for other devices: it says so as long as the pod is there, and starts nothing.

To end would say less: the kubelet starts the same image again at growing pauses, to the same end.
"""

from llama_serving.cell.policy.state_machine import Action, Decision, Status, SupervisorMemory, conclude
from llama_serving.cell.supervisor.role import Facts
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase


class RefusedRole:
    """Waits for the end of the pod."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal

    async def look(self, *, stopping: bool) -> bool:
        """Return whether the pod is to end."""
        return stopping

    def decide(self, memory: SupervisorMemory, view: bool, *, now: float) -> Decision:
        """Say why; end when the pod does."""
        status = Status(Phase.FAILED, CellReason.IMAGE_REFUSED, self._refusal)
        return conclude(memory, status, now=now, exit_code=0 if view else None)

    async def do(self, action: Action) -> None:
        """Do nothing: no action is ever asked for."""

    def facts(self) -> Facts:
        """Return that nothing runs."""
        return Facts()

    async def stop(self) -> None:
        """Leave nothing behind."""

"""One request on its way through the router."""

from dataclasses import dataclass, field

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import Fault, Tries


@dataclass(slots=True, eq=False)
class Ticket:
    """A request; ``seq`` is its place in the order of arrival, times are seconds of the caller's clock.

    ``weights``: None for any; else the only ones that may go on with the answer, because they began it.
    ``size``: None for a request that is no work for a group; it is neither waiting nor in flight for those who count.
    ``used``: seconds that it had a slot, in all attempts that are over.
    """

    seq: int
    arrived: float
    group: Backend | None = None
    epoch: int = 0
    waiting_since: float | None = None
    waited: float = 0.0
    tries: Tries = field(default_factory=Tries)
    tried: dict[str, int] = field(default_factory=dict)
    last_fault: str = ""
    weights: str | None = None
    size: RequestSize | None = UNKNOWN
    placed_at: float = 0.0
    used: float = 0.0

    def may_use(self, group: Backend) -> bool:
        """Say whether the group has not failed this request, or has shown since then that it works."""
        if self.weights is not None and self.weights != group.target.weights:
            return False
        return self.tried.get(group.key) != group.health.proof

    def note_fault(self, group: Backend, fault: Fault) -> None:
        """Keep the request away from ``group`` until the group has shown that it works."""
        if self.epoch == group.health.epoch and fault.is_groups:
            self.tried[group.key] = group.health.proof
        self.last_fault = f"group {group.target.name} {fault.detail}"

"""One request on its way through the router."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.charges import Charges
from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import AttemptFault, Tries


@dataclass(slots=True, eq=False)
class Ticket:
    """A request; ``seq`` is its place in the order of arrival, times are seconds of the caller's clock.

    ``weights``: None for any; else the only weights that may continue the answer, because they began it.
    ``adapter``: name of the LoRA adapter that must answer; None for the base, or where nobody knows names.
    ``adapter_id``: None for any id of that name; else the only one that may continue the answer.
    ``size``: None for a request that is no work for a group; it counts neither as waiting nor as in flight.
    ``charges``: what it has against groups that failed it; ``is_cause``: it is itself the cause.
    ``used``: seconds that it held a slot, over all finished attempts.
    ``flow``: the client whose it is; ``round`` in which its turn is; ``paid``: tokens that its client was charged.
    """

    seq: int
    arrived: float
    flow: Flow = field(default_factory=Flow)
    round: int = 0
    paid: int = 0
    backend: Backend | None = None
    epoch: int = 0
    waiting_since: float | None = None
    waited: float = 0.0
    tries: Tries = field(default_factory=Tries)
    tried: dict[str, int] = field(default_factory=dict)
    charges: Charges = field(default_factory=Charges)
    is_cause: bool = False
    last_fault: str = ""
    weights: str | None = None
    adapter: str | None = None
    adapter_id: str | None = None
    size: RequestSize | None = UNKNOWN
    placed_at: float = 0.0
    used: float = 0.0

    @property
    def cost(self) -> int:
        """Expected tokens of prompt and answer."""
        return 0 if self.size is None else self.size.prompt_tokens + self.size.answer_tokens

    @property
    def is_queued(self) -> bool:
        """Whether it waits for a backend."""
        return self.waiting_since is not None

    def may_use(self, backend: Backend) -> bool:
        """Return whether the backend has not failed this request, or has shown since then that it works.

        None may get it while it may itself be the cause (blame.py).
        """
        if self.weights is not None and self.weights != backend.endpoint.weights:
            return False
        if self.charges.bar_it:
            return False
        return self.finds_adapter(backend) and self.tried.get(backend.key) != backend.health.proof

    def saves_attempt_for(self, backends: Iterable[Backend]) -> bool:
        """Return whether its last attempt is for one of these that has not failed it: no other gets it meanwhile.

        Another may have shown that it works, by a probe, and fail all work.
        """
        if not (self.tried and self.tries.is_last):
            return False
        return any(one.is_routable and one.key not in self.tried and self.may_use(one) for one in backends)

    @property
    def generates(self) -> bool:
        """Whether its answer shows that the engine works: to count tokens the server in front of it is enough."""
        return self.size is not None and (self.size is UNKNOWN or self.size != UNKNOWN)

    def finds_adapter(self, backend: Backend) -> bool:
        """Return whether the backend has the adapter of this request; every one has what the base needs."""
        if self.adapter is None:
            return True
        held = backend.adapter_id(self.adapter)
        return held is not None and self.adapter_id in (None, held)

    def note_fault(self, backend: Backend, fault: AttemptFault) -> None:
        """Bar the request from ``backend`` until the backend has shown that it works."""
        if self.epoch == backend.health.epoch and fault.doubts_backend:
            self.tried[backend.key] = backend.health.proof
        self.last_fault = f"group {backend.endpoint.name} {fault.detail}"

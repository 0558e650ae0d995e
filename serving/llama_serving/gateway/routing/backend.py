"""One group of the deployment, as the router sees it: the backend of requests."""

from collections import Counter
from dataclasses import dataclass, field

from llama_serving.gateway.routing.ejection import Health
from llama_serving.gateway.routing.endpoint import Endpoint


@dataclass(slots=True, eq=False)
class Backend:
    """The endpoint that discovery named last, this gateway's requests in flight there, and its observed health.

    ``gone``: discovery no longer names it; it is kept only while requests are in flight there.
    ``last_grant``: number of the last grant; among equals the backend with the smallest one is next.
    ``absent``: adapters that discovery names and the engine said it has not, with the time until when that is believed.
    ``by_adapter``: of those in flight, how many are for each adapter.
    """

    endpoint: Endpoint
    health: Health
    in_flight: int = 0
    last_grant: int = 0
    gone: bool = False
    absent: dict[str, float] = field(default_factory=dict)
    by_adapter: Counter[str] = field(default_factory=Counter)

    @property
    def key(self) -> str:
        """Identity of the leader."""
        return self.endpoint.key

    @property
    def is_routable(self) -> bool:
        """Whether requests may be sent there at all."""
        return self.endpoint.ready and not (self.gone or self.health.ejected or self.endpoint.moving)

    @property
    def would_serve(self) -> bool:
        """Whether requests would be sent there but for strikes."""
        out = self.health.ejected and not self.health.struck_out
        return self.endpoint.ready and not (self.gone or out or self.endpoint.moving)

    def adapter_id(self, name: str) -> str | None:
        """Return the id of the adapter that it answers with under this name; None where it has none."""
        return None if name in self.absent else self.endpoint.adapters.get(name)

    def take_over(self, endpoint: Endpoint) -> None:
        """Replace the endpoint; news of an adapter outdate what the engine said about it."""
        before, after = self.endpoint.adapters, endpoint.adapters
        for name in [name for name in self.absent if before.get(name) != after.get(name)]:
            del self.absent[name]
        self.endpoint = endpoint

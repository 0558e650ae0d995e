"""One group of the deployment, as the router sees it: the backend of requests."""

from dataclasses import dataclass

from llama_serving.gateway.routing.ejection import Health
from llama_serving.gateway.routing.endpoint import Endpoint


@dataclass(slots=True, eq=False)
class Backend:
    """The endpoint that discovery named last, this gateway's requests in flight there, and its observed health.

    ``gone``: discovery no longer names it; it is kept only while requests are in flight there.
    ``last_grant``: number of the last grant; among equals the backend with the smallest one is next.
    """

    endpoint: Endpoint
    health: Health
    in_flight: int = 0
    last_grant: int = 0
    gone: bool = False

    @property
    def key(self) -> str:
        """Identity of the leader."""
        return self.endpoint.key

    @property
    def is_routable(self) -> bool:
        """Whether requests may be sent there at all."""
        return self.endpoint.ready and not (self.gone or self.health.ejected or self.endpoint.moving)

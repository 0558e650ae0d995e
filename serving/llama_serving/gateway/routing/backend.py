"""One group as the router sees it."""

from dataclasses import dataclass

from llama_serving.gateway.routing.ejection import Health
from llama_serving.gateway.routing.endpoint import Endpoint


@dataclass(slots=True, eq=False)
class Backend:
    """What discovery said last, this gateway's own requests there and its own observations.

    ``gone``: discovery names it no more; it stays only as long as requests are in flight there.
    ``last_grant``: number of the last grant, so that among equals the one that was left alone longest is next.
    """

    target: Endpoint
    health: Health
    in_flight: int = 0
    last_grant: int = 0
    gone: bool = False

    @property
    def key(self) -> str:
        """Return the identity of the leader."""
        return self.target.key

    @property
    def is_routable(self) -> bool:
        """Say whether requests may be sent there at all."""
        return self.target.ready and not (self.gone or self.health.ejected or self.target.moving)

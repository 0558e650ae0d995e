"""How the gateway learns which groups there are."""

from collections.abc import Callable
from typing import Protocol

from llama_serving.gateway.routing.endpoint import Endpoint

Publish = Callable[[tuple[Endpoint, ...]], None]


class Discovery(Protocol):
    """A source of groups."""

    async def run(self, publish: Publish) -> None:
        """Publish all groups whenever they change, until cancelled.

        While the source is out of reach nothing is published, so that the last known groups stay in use.
        """

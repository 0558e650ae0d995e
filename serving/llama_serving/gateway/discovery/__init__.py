"""How the gateway discovers the groups."""

from collections.abc import Callable
from typing import Protocol

from llama_serving.gateway.routing.endpoint import Endpoint

Publish = Callable[[tuple[Endpoint, ...]], None]


class Discovery(Protocol):
    """A source of groups."""

    async def run(self, publish: Publish) -> None:
        """Publish all groups whenever they change, until cancelled.

        While the source cannot be reached nothing is published, so the last known groups stay in use.
        """

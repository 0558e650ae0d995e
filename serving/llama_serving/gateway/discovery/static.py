"""Groups named on the command line, for development and benchmarks."""

import asyncio
from urllib.parse import urlsplit

from llama_serving.gateway.discovery import Publish
from llama_serving.gateway.routing.endpoint import Endpoint


class StaticDiscovery:
    """A list that never changes; implements Discovery."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._targets = endpoints

    async def run(self, publish: Publish) -> None:
        """Publish the list once."""
        publish(self._targets)
        await asyncio.Event().wait()


def parse_static(text: str) -> tuple[Endpoint, ...]:
    """Parse ``name=http://host:port,...``; raises ValueError with the invalid part."""
    endpoints = tuple(_target(ordinal, part) for ordinal, part in enumerate(text.split(",")) if part)
    if len({endpoint.name for endpoint in endpoints}) != len(endpoints):
        raise ValueError(f"a name occurs twice in {text!r}")
    return endpoints


def _target(ordinal: int, part: str) -> Endpoint:
    name, _, url = part.partition("=")
    split = urlsplit(url)
    if not name or split.scheme != "http" or not split.hostname or split.path.strip("/"):
        raise ValueError(f"{part!r} is not name=http://host:port")
    return Endpoint(
        key=name,
        name=name,
        ordinal=ordinal,
        weights="static",
        host=split.hostname,
        port=split.port or 80,
        ready=True,
    )

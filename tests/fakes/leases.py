"""The port ``Leases``: leases with versions, and an API server that can be away."""

import asyncio
import itertools
from dataclasses import dataclass, field, replace

from llama_operator.ports import Lease, Retry


@dataclass
class FakeLeases:
    """All processes share ``stored``; ``away`` of one process makes its calls fail."""

    stored: dict[str, Lease] = field(default_factory=dict)
    away: bool = False
    writes: list[Lease] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def read(self, namespace: str) -> Lease | None:
        self._reach()
        return self.stored.get(namespace)

    async def write(self, namespace: str, lease: Lease) -> Lease:
        self._reach()
        known = self.stored.get(namespace)
        if lease.version != (known.version if known else ""):
            raise Retry("the object has been modified")
        self.stored[namespace] = made = replace(lease, version=str(next(self._versions)))
        self.writes.append(made)
        self._news.set()
        self._news = asyncio.Event()
        return made

    async def changed(self, namespace: str, lease: Lease, *, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while (found := self.stored.get(namespace)) and found.version == lease.version:
                    await self._news.wait()
        except TimeoutError:
            return

    def _reach(self) -> None:
        if self.away:
            raise Retry("no connection to the API server")


@dataclass
class Another(FakeLeases):
    """The same leases as another process sees them."""

    of: FakeLeases = field(default_factory=FakeLeases)

    async def read(self, namespace: str) -> Lease | None:
        self._reach()
        return await self.of.read(namespace)

    async def write(self, namespace: str, lease: Lease) -> Lease:
        self._reach()
        return await self.of.write(namespace, lease)

    async def changed(self, namespace: str, lease: Lease, *, seconds: float) -> None:
        await self.of.changed(namespace, lease, seconds=seconds)

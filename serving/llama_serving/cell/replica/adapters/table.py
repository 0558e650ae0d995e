"""The LoRA adapters of a running engine: which are loaded, which a name means now, and who uses them.

Invariants, in one event loop: a request is answered by the adapter that its name meant when it was admitted, to its
end; an adapter that serves or is used by a request is never unloaded; one load runs at a time; a load that failed on
one rank is undone on all. After a change of the base no name means an adapter until the supervisor says so again for
the new base.
"""

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter, LoadedAdapter
from llama_serving.cell.shared.replica_state import RankReport

logger = logging.getLogger("ray.serve")

Chosen = tuple[str, EngineAdapter]
"""The model that a request names, and the adapter that answers it."""

CHOSEN: Final[contextvars.ContextVar[Chosen | None]] = contextvars.ContextVar("chosen_adapter", default=None)


class AdapterEngine(Protocol):
    """What is needed of vLLM."""

    async def load_adapter(self, adapter: EngineAdapter) -> Sequence[RankReport]:
        """Load on every rank at once; a rank that could not reports it in ``error``."""

    async def unload_adapter(self, adapter: EngineAdapter) -> Sequence[RankReport]:
        """Let every rank forget it."""


class Meaning(StrEnum):
    """What a model's name means here."""

    BASE = "base"
    ADAPTER = "adapter"
    ABSENT = "absent"  # it exists, or may exist, and is not served here now
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Choice:
    """What answers a request; ``adapter`` with ``Meaning.ADAPTER`` only."""

    meaning: Meaning
    adapter: EngineAdapter | None = None


@dataclass(frozen=True)
class _Held:
    adapter: EngineAdapter
    in_flight: int = 0


class Adapters:
    """The adapters of one engine whose base is called ``base_name``."""

    def __init__(self, engine: AdapterEngine, *, base_name: str, base: str, capacity: int, tensor: int) -> None:
        self._engine = engine
        self._base_name = base_name
        self._base = base
        self._capacity = capacity
        self._tensor = tensor
        self._table: AdapterTable | None = None
        self._held: dict[str, _Held] = {}  # by internal name
        self._lock = asyncio.Lock()

    @property
    def loaded(self) -> tuple[LoadedAdapter, ...]:
        """What all ranks hold."""
        served = {adapter.key for adapter in self.served.values()}
        return tuple(
            LoadedAdapter(adapter=held.adapter, served=held.adapter.key in served, in_flight=held.in_flight)
            for held in self._held.values()
        )

    @property
    def served(self) -> dict[str, EngineAdapter]:
        """What each name means now; none where the last table was made for another base."""
        if self._table is None or self._table.base != self._base:
            return {}
        return {adapter.name: adapter for adapter in self._table.served if adapter.internal_name in self._held}

    def hold_table(self, table: AdapterTable) -> None:
        """Let names mean from now on what ``table`` says."""
        self._table = table
        for adapter in table.served:  # the same bytes may have got another id
            held = self._held.get(adapter.internal_name)
            if held is not None:
                self._held[adapter.internal_name] = replace(held, adapter=adapter)

    def change_base(self, base: str) -> None:
        """Note another base in the engine: what is served has to be verified on it."""
        self._base = base

    def choose(self, name: str, *, expected: str = "", verifying: bool = False) -> Choice:
        """Return what answers a request for ``name``; ``expected`` is the id that its sender routed it by.

        ``verifying``: the supervisor asks, which may name an adapter that does not serve yet by its internal name.
        """
        if verifying and name in self._held:
            return Choice(Meaning.ADAPTER, self._held[name].adapter)
        if not name or name == self._base_name:
            return Choice(Meaning.ABSENT if expected else Meaning.BASE)
        adapter = self.served.get(name)
        if adapter is not None:
            return Choice(Meaning.ADAPTER, adapter) if expected in ("", adapter.id) else Choice(Meaning.ABSENT)
        unknown = self._table is not None and name not in self._table.known and not expected
        return Choice(Meaning.UNKNOWN if unknown else Meaning.ABSENT)

    def begin(self, adapter: EngineAdapter) -> None:
        """Count a request that was just chosen to be answered by ``adapter``."""
        self._count(adapter, 1)

    def end(self, adapter: EngineAdapter) -> None:
        """Note that its answer has ended, however it ended."""
        self._count(adapter, -1)

    def _count(self, adapter: EngineAdapter, change: int) -> None:
        held = self._held[adapter.internal_name]
        self._held[adapter.internal_name] = replace(held, in_flight=held.in_flight + change)

    async def load(self, adapter: EngineAdapter) -> str:
        """Load an adapter on all ranks; return why it could not be, in one sentence, empty where it could."""
        async with self._lock:
            if adapter.internal_name in self._held:
                return ""
            if len(self._held) >= self._capacity:
                return f"the engine holds {len(self._held)} adapters, as many as it can"
            error = self._fault(await self._engine.load_adapter(adapter), adapter)
            if error:
                await self._engine.unload_adapter(adapter)
                logger.warning("%s", error)
                return error
            self._held[adapter.internal_name] = _Held(adapter)
            logger.info("adapter %s loaded (%s)", adapter.internal_name, adapter.id)
            return ""

    def _fault(self, reports: Sequence[RankReport], adapter: EngineAdapter) -> str:
        for report in reports:
            if report.error:
                where = f"stage {report.rank // self._tensor} ({report.host})"
                return f"{where} could not load adapter {adapter.name}: {report.error}"
        return ""

    async def unload(self, adapter: EngineAdapter) -> str:
        """Let all ranks forget an adapter; return why not, empty where it is gone."""
        async with self._lock:
            held = self._held.get(adapter.internal_name)
            if held is None:
                return ""
            if self.served.get(adapter.name) == held.adapter:
                return f"adapter {adapter.name} serves"
            if held.in_flight:
                return f"adapter {adapter.name} is used by {held.in_flight} requests"
            del self._held[adapter.internal_name]  # before the await: nobody chooses it any more
            error = self._fault(await self._engine.unload_adapter(adapter), adapter)
            logger.info("adapter %s unloaded", adapter.internal_name)
            return error

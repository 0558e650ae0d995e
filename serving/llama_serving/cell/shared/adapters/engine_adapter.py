"""A LoRA adapter as the engine knows it, and what the supervisor and its replica say to each other about adapters.

vLLM keeps prefixes by an adapter's name and path, puts the requests of a batch together by name, and finds matrices by
an integer. All three follow from name and digest here, so two digests of one name are two adapters for the engine.
"""

import hashlib
from typing import Final

from pydantic import Field

from llama_serving.config import names
from llama_serving.config.cell import Frozen, WeightsRef
from llama_serving.config.desired import AdapterRef

ROUTE_ADAPTERS: Final = "/llama/adapters"  # PUT an AdapterTable
ROUTE_LOAD: Final = "/llama/adapters/load"  # POST an EngineAdapter
ROUTE_UNLOAD: Final = "/llama/adapters/unload"  # POST an EngineAdapter

_SEPARATOR: Final = "@"  # no served name has one, see names.DNS_SUBDOMAIN
_DIGITS: Final = 16
_NUMBERS: Final = 2**31 - 2


class EngineAdapter(Frozen):
    """An adapter in an engine: one name with one digest."""

    name: str = Field(min_length=1, description="its name in the OpenAI API")
    digest: str = Field(min_length=1, description="of its manifest")
    id: str = Field(default="", description="AdapterRef.id, which answers carry")

    @property
    def key(self) -> tuple[str, str]:
        """Name and digest: what makes it another adapter."""
        return self.name, self.digest

    @property
    def internal_name(self) -> str:
        """The name by which vLLM knows it."""
        return f"{self.name}{_SEPARATOR}{self.digest.removeprefix('sha256:')[:_DIGITS]}"

    @property
    def number(self) -> int:
        """vLLM's ``lora_int_id``, from 1 to 2**31 - 2."""
        found = hashlib.sha256(f"{self.name}{_SEPARATOR}{self.digest}".encode()).digest()
        return 1 + int.from_bytes(found[:8], "big") % _NUMBERS

    @property
    def path(self) -> str:
        """Where each rank finds the matrices of its stage."""
        return names.adapter_link(self.digest)


def engine_adapter(adapter: AdapterRef) -> EngineAdapter:
    """Return a desired adapter as the engine is to have it."""
    return EngineAdapter(name=adapter.name, digest=adapter.digest, id=adapter.id)


def base_key(weights: WeightsRef) -> str:
    """Return what a base is told from others by: its digest, or its id where none was made."""
    return weights.digest or weights.id


class AdapterTable(Frozen):
    """Which names mean an adapter, and which adapter each of them means now. A level: the last one holds."""

    known: tuple[str, ...] = Field(default=(), description="names that are desired; others are unknown models")
    served: tuple[EngineAdapter, ...] = Field(default=(), description="what these names mean, one for each at most")
    base: str = Field(default="", description="key of the base on which those that are served were verified")


class LoadedAdapter(Frozen):
    """An adapter that all ranks hold."""

    adapter: EngineAdapter
    served: bool = Field(default=False, description="its name means it now")
    in_flight: int = Field(default=0, ge=0, description="requests that were begun with it and have not ended")


class AdapterAnswer(Frozen):
    """What came of a load or an unload."""

    error: str = Field(default="", description="one sentence that names the stage; empty: it is done")

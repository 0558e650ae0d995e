"""The status of a LlamaAdapter. Written by one function, only when different."""

from typing import Final

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from llama_operator.api.v1alpha1.weights_status import ResolvedStatus
from llama_serving.config.model import AdapterFacts, TargetModule

_SPELLING: Final = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class TargetModuleStatus(TargetModule):
    """The shape of a module in the spelling of the API."""

    model_config = _SPELLING


class AdapterFactsStatus(AdapterFacts):
    """The resolver's facts in the spelling of the API."""

    model_config = _SPELLING

    target_modules: tuple[TargetModuleStatus, ...] = Field(description="modules that have matrices, by name")


class LlamaAdapterStatus(ResolvedStatus):
    """What the last attempt to resolve the adapter found."""

    facts: AdapterFactsStatus | None = Field(default=None, description="What adapter_config.json and the matrices say.")

"""vLLM's registry of models, with the adapter that was chosen for the request at hand.

vLLM 0.32 looks a request's model up twice, by its name, and names it in the answer. A name here may come to mean
another adapter in between. So the adapter is chosen once, when the request is admitted, and kept in a context variable
that is the request's own. Whatever was not chosen does not exist: 404 from vLLM itself, never the base.

Importing this module imports vLLM.
"""

from collections.abc import Callable
from typing import Any

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ModelCard, ModelList, ModelPermission
from vllm.lora.request import LoRARequest

from llama_serving.cell.replica.adapters.table import CHOSEN
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter


class ChosenRequests(dict[str, LoRARequest]):
    """In place of ``lora_requests``: holds the adapter of the request at hand and nothing else."""

    def __contains__(self, name: object) -> bool:
        chosen = CHOSEN.get()
        return chosen is not None and chosen[0] == name

    def __getitem__(self, name: str) -> LoRARequest:
        chosen = CHOSEN.get()
        if chosen is None or chosen[0] != name:
            raise KeyError(name)
        return lora_request(chosen[1])


def lora_request(adapter: EngineAdapter) -> LoRARequest:
    """Return an adapter as vLLM's engine is asked for it."""
    return LoRARequest(lora_name=adapter.internal_name, lora_int_id=adapter.number, lora_path=adapter.path)


class AdapterModels(OpenAIServingModels):  # type: ignore[misc]
    """vLLM's registry; made out of vLLM's own object by ``install_adapters``."""

    served: Callable[[], dict[str, EngineAdapter]]

    def model_name(self, lora_request: LoRARequest | None = None) -> str:
        """Return the name that the answer carries: that of the request, not that of the engine."""
        chosen = CHOSEN.get()
        if lora_request is not None and chosen is not None:
            return chosen[1].name
        return str(super().model_name(lora_request))

    async def show_available_models(self) -> ModelList:
        """Return the base and the adapters that serve."""
        models = await self.registry.show_available_models()
        parent = self.base_model_paths[0].name
        models.data.extend(
            ModelCard(id=name, root=adapter.id, parent=parent, permission=[ModelPermission()])
            for name, adapter in sorted(self.served().items())
        )
        return models


def install_adapters(models: Any, *, served: Callable[[], dict[str, EngineAdapter]]) -> None:
    """Turn vLLM's registry of models, which all of its routes share, into ours."""
    models.__class__ = AdapterModels
    models.served = served
    models.lora_requests = ChosenRequests()

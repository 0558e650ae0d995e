"""Arguments of the engine for LoRA adapters, from the limits of the cell's config.

Rule: vLLM keeps room in each rank's memory for one adapter more than the group holds. A changed adapter is loaded
beside the one that it replaces, and no adapter ever leaves that memory by itself: a step of the engine never reads an
adapter's files, which may be gone by then.
"""

from typing import Any, Final

from llama_serving.config.cell import AdapterLimits
from llama_serving.config.model import ENGINE_RANKS

#: The layers that adapters add to. vLLM would wrap embedding and head too, with room for whole vocabularies.
MODULES: Final = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def capacity(limits: AdapterLimits) -> int:
    """Return how many adapters the engine's ranks may hold at a time, changes included."""
    return max(limits.held, limits.slots) + 1


def adapter_kwargs(limits: AdapterLimits | None) -> dict[str, Any]:
    """Return the arguments of vLLM's engine; none where no adapter is served."""
    if limits is None:
        return {}
    return {
        "enable_lora": True,
        "max_loras": limits.slots,
        "max_cpu_loras": capacity(limits),
        "max_lora_rank": next((rank for rank in ENGINE_RANKS if rank >= limits.max_rank), limits.max_rank),
        "lora_target_modules": list(MODULES),
    }

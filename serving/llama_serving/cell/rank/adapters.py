"""LoRA adapters in a rank: vLLM's own manager loads them, and one that is refused leaves nothing behind.

vLLM 0.32 cannot hold an adapter without a matrix ("StopIteration"). A stage has none of an adapter that adds to layers
of other stages alone. It gets a pair of zeros then.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from vllm.lora.lora_model import LoRAModel
from vllm.lora.request import LoRARequest

from llama_serving.cell.shared.adapters.matrices import check_matrices, module_widths
from llama_serving.cell.shared.verified_links import verified_digest


def load_adapter(worker: Any, *, name: str, number: int, path: str, digest: str) -> None:
    """Load an adapter into a vLLM worker's memory and try it in a slot of its device.

    Raises:
        Exception: whatever is wrong with it; the worker is as before.
    """
    folder, runner = Path(path), worker.model_runner
    _check_verified(folder, digest)
    check_matrices(folder, runner.model_config.hf_text_config, most_rank=runner.lora_config.max_lora_rank)
    runner.lora_manager._lora_model_cls = _stage_model(runner)  # noqa: SLF001  # the fault is in there
    try:
        runner.add_lora(LoRARequest(lora_name=name, lora_int_id=number, lora_path=path))
        _check_verified(folder, digest)
    except Exception:
        runner.remove_lora(number)
        raise


def unload_adapter(worker: Any, number: int) -> None:
    """Let a worker forget an adapter; one that it does not hold is forgotten already."""
    worker.model_runner.remove_lora(number)


def _stage_model(runner: Any) -> type[LoRAModel]:
    """Return vLLM's class of an adapter's matrices, which are never none."""
    zeros = zero_pair(runner.model_config.hf_text_config, layer=int(runner.get_model().model.start_layer))

    class StageLoRAModel(LoRAModel):  # type: ignore[misc]
        @classmethod
        def from_lora_tensors(cls, *, tensors: Mapping[str, torch.Tensor], **options: Any) -> LoRAModel:
            return super().from_lora_tensors(tensors=tensors or zeros, **options)

    return StageLoRAModel


def zero_pair(config: Any, *, layer: int) -> dict[str, torch.Tensor]:
    """Return two matrices of rank 1 that add nothing to a layer of the model (LlamaConfig)."""
    inputs, outputs = module_widths(config)["o_proj"]
    name = f"base_model.model.model.layers.{layer}.self_attn.o_proj"
    return {f"{name}.lora_A.weight": torch.zeros(1, inputs), f"{name}.lora_B.weight": torch.zeros(outputs, 1)}


def _check_verified(folder: Path, digest: str) -> None:
    found = verified_digest(folder)
    if found != digest:
        raise ValueError(f"{folder} holds {found or 'unverified files'} instead of {digest}")

"""LoRA adapters in a rank: vLLM's own manager loads them, and one that is refused leaves nothing behind."""

from pathlib import Path
from typing import Any

from llama_serving.cell.shared.adapters.matrices import check_matrices
from llama_serving.cell.shared.verified_links import verified_digest


def load_adapter(worker: Any, *, name: str, number: int, path: str, digest: str) -> None:
    """Load an adapter into a vLLM worker's memory and try it in a slot of its device.

    Raises:
        Exception: whatever is wrong with it; the worker is as before.
    """
    from vllm.lora.request import LoRARequest

    folder, runner = Path(path), worker.model_runner
    _check_verified(folder, digest)
    check_matrices(folder, runner.model_config.hf_config, most_rank=runner.lora_config.max_lora_rank)
    try:
        runner.add_lora(LoRARequest(lora_name=name, lora_int_id=number, lora_path=path))
        _check_verified(folder, digest)
    except Exception:
        runner.remove_lora(number)
        raise


def unload_adapter(worker: Any, number: int) -> None:
    """Let a worker forget an adapter; one that it does not hold is forgotten already."""
    worker.model_runner.remove_lora(number)


def _check_verified(folder: Path, digest: str) -> None:
    found = verified_digest(folder)
    if found != digest:
        raise ValueError(f"{folder} holds {found or 'unverified files'} instead of {digest}")

"""The base answers as itself beside LoRA adapters.

vLLM 0.32 marks a token without an adapter by the index -1. Its kernels for GPUs leave such a token out; those in plain
torch, which a CPU has, take the last slot by that index. So in a batch with any adapter, requests for the base are
answered by the adapter that happens to lie in the last slot. Here what such tokens get of an adapter is set to zero.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


def leave_base_rows_alone() -> None:
    """Let all wrappers of this process do so. Calling it twice is harmless."""
    stock = getattr(PunicaWrapperCPU._apply_shrink, "stock", PunicaWrapperCPU._apply_shrink)  # noqa: SLF001

    def apply_shrink(wrapper: Any, y: torch.Tensor, x: torch.Tensor, w_t_all: torch.Tensor, scale: float) -> None:  # noqa: PLR0917
        """Multiply by the first matrices of the adapters; tokens without one get zeros."""
        stock(wrapper, y, x, w_t_all, scale)
        slots = wrapper.token_lora_indices
        y[: slots.shape[0]][slots < 0] = 0

    apply_shrink.stock = stock  # type: ignore[attr-defined]
    PunicaWrapperCPU._apply_shrink = apply_shrink  # noqa: SLF001

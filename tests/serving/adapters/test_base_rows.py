"""Tokens of the base in a batch with adapters, on vLLM's kernels in plain torch: stock, and with the fix.

When the "stock" half fails after an upgrade, the fix is no longer needed.
"""

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

SLOTS = [7, 9]  # ids of the adapters in the two slots


@pytest.fixture(autouse=True)
def stock_kernels() -> Iterator[None]:
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    kept = PunicaWrapperCPU._apply_shrink
    PunicaWrapperCPU._apply_shrink = getattr(kept, "stock", kept)
    yield
    PunicaWrapperCPU._apply_shrink = kept


def added(ids: tuple[int, ...]) -> Any:
    """What a linear layer's adapters add to each token; the one in slot ``n`` adds ``n + 1``."""
    import torch
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    wrapper = PunicaWrapperCPU(16, 8, "cpu")
    wrapper.update_metadata(LoRAMapping(ids, ids, is_prefill=True), SLOTS, len(SLOTS) + 1, 32)
    y, x = torch.zeros(len(ids), 3), torch.ones(len(ids), 1)
    a = torch.ones(2, 1, 1, 1)
    b = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 3, 1)
    wrapper.add_lora_linear(y, x, (a,), (b,), 1.0, (3,))
    return y[:, 0].tolist()


BATCHES = {
    (7, 0, 9, 0): [1, 0, 2, 0],
    (0, 0, 7): [0, 0, 1],
    (9, 9, 7): [2, 2, 1],
    (0, 0): [0, 0],
}


def test_stock_answers_the_base_with_the_adapter_in_the_last_slot() -> None:
    assert added((7, 0, 9, 0)) == [1, 2, 2, 2]


@pytest.mark.parametrize("ids", BATCHES)
def test_the_base_gets_nothing_of_any_adapter(ids: tuple[int, ...]) -> None:
    from llama_serving.cpu.base_rows import leave_base_rows_alone

    leave_base_rows_alone()
    leave_base_rows_alone()
    assert added(ids) == BATCHES[ids]

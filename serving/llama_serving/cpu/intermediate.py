"""The buffer for what a stage gets from the one before it.

vLLM 0.32 makes ``intermediate_tensors`` only in a dummy run. The CPU worker skips the dummy run when it is eager and
the size of the KV cache is given, so the first request fails on every stage but the first (``assert
self.intermediate_tensors is not None``, then a ``KeyError`` in the scheduler).
"""

from typing import Any


def ensure_intermediate_tensors(runner: Any, *, first_stage: bool) -> None:
    """Allocate the buffer where the dummy run did not."""
    if first_stage or runner.intermediate_tensors is not None:
        return
    runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
        batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
    )

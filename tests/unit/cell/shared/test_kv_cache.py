"""The default size of the KV cache of a CPU stage."""

from typing import Any

import pytest

from llama_serving.cell.shared.kv_cache import default_kv_cache_bytes, token_bytes
from tests.unit.cell.worlds import facts


@pytest.mark.parametrize(
    ("model", "context", "expected"),
    [
        # SmolLM2 in two stages: 15 layers x 2 x 3 heads x 64 x 2 bytes = 11 520 bytes a token.
        (facts(), 512, 64 << 20),
        (facts(), 8192, 4 * (8192 + 128) * 11_520),
        # One context alone is more than the most that the default takes.
        (facts(layers=80, kv_heads=64, head_dim=128), 8192, (8192 + 128) * 2 * 40 * 64 * 128 * 2),
        (facts(dtype="float32"), 8192, 4 * (8192 + 128) * 23_040),
    ],
)
def test_the_default_cache_holds_four_contexts(model: Any, context: int, expected: int) -> None:
    assert default_kv_cache_bytes(model, pipeline=2, context_length=context, dtype="auto") == expected


def test_the_stage_with_the_most_layers_counts() -> None:
    assert token_bytes(facts(layers=3), pipeline=2, dtype="bfloat16") == 2 * 2 * 3 * 64 * 2

"""Size of the KV cache of a CPU stage when nobody gave one.

``bytes of a token = 2 (K and V) x layers of the largest stage x KV heads x head size x bytes of a number``;
the default holds four full contexts, at least 64 MiB and at most 4 GiB, but never less than one full context.
vLLM's own default on CPU is a share of the whole node's memory, which a pod does not have.
"""

import math
from typing import Final

from llama_serving.config.model import ModelFacts

_CONTEXTS: Final = 4
_SMALLEST: Final = 64 << 20
_LARGEST: Final = 4 << 30
_BLOCK: Final = 128  # tokens of a block of vLLM's CPU attention; a context is rounded up to whole blocks
_DTYPE_BYTES: Final = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


def token_bytes(model: ModelFacts, *, pipeline: int, dtype: str) -> int:
    """Return the bytes of KV cache of one token on the stage with the most layers; dtype ``auto`` is the model's."""
    layers = math.ceil(model.layers / pipeline)
    number = _DTYPE_BYTES.get(model.dtype if dtype == "auto" else dtype, 4)
    return 2 * layers * model.kv_heads * model.head_dim * number


def default_kv_cache_bytes(model: ModelFacts, *, pipeline: int, context_length: int, dtype: str) -> int:
    """Return the bytes of KV cache per stage."""
    blocks = math.ceil(context_length / _BLOCK) + 1  # one block of vLLM's is a placeholder that no request gets
    context = blocks * _BLOCK * token_bytes(model, pipeline=pipeline, dtype=dtype)
    return max(context, min(_LARGEST, max(_SMALLEST, _CONTEXTS * context)))

"""Sizes that are too small for a model by any count: its weights in a stage, and the KV cache of one context.

Lower bounds, so that nothing is refused that could run:

    weights of the largest stage >= bytes of all tensors / pipeline
    KV cache of one context       = contextLength x 2 (K and V) x layers of the largest stage x KV heads of a device
                                    x head size x bytes of a number

Sources: vLLM's ``check_enough_kv_cache_memory`` (a cache that holds less than one context ends the engine) and
``get_pp_indices`` (layers of a stage).
"""

import math
from collections.abc import Callable
from typing import Final

from llama_operator.api import CPU, LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.plan.sentences import placement as sentences
from llama_serving.config.model import ModelFacts
from llama_serving.config.source import is_mounted
from llama_serving.config.wording import bytes_text

_NUMBER: Final = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}  # bytes
_FP8: Final = 1
_LEAST: Final = 0.5  # the smallest type that a checkpoint can name for its KV cache


def _kv_cache(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    """Compare the KV cache that was asked for with what one request of the whole context needs."""
    asked = spec.engine.kv_cache_memory
    if asked is None:
        return ""
    needed = kv_cache_bytes(spec, facts)
    if needed <= parse_bytes(asked):
        return ""
    return sentences.kv_cache_too_small(asked=asked, context=spec.context_length, needed=bytes_text(needed))


def _memory(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    """Compare a stage's memory with its share of the weights; on a GPU they lie in the memory of the device."""
    if spec.device.resource != CPU:
        return ""
    needed = _loaded(spec, facts) / spec.sharding.pipeline
    return _share("resources.memory", spec.resources.memory, needed=needed, stages=spec.sharding.pipeline)


def _staging(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    """Compare the volume of a stage with its share of the files."""
    staging, stages = spec.staging, spec.sharding.pipeline
    if is_mounted(spec.model.source):
        return ""
    if staging.volume_claim_template:
        size = staging.volume_claim_template.size
        return _share("staging.volumeClaimTemplate.size", size, needed=facts.bytes / stages, stages=stages)
    return _share("staging.sizeLimit", staging.size_limit, needed=facts.bytes / stages, stages=stages)


SIZE_CHECKS: Final[tuple[Callable[[LlamaDeploymentSpec, ModelFacts], str], ...]] = (_kv_cache, _memory, _staging)


def kv_cache_bytes(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    """Return the bytes of KV cache of one context on a device of the largest stage."""
    layers = math.ceil(facts.layers / spec.sharding.pipeline)
    heads = math.ceil(facts.kv_heads / spec.sharding.tensor)
    return spec.context_length * 2 * layers * heads * facts.head_dim * _kv_number(spec, facts)


def number_bytes(spec: LlamaDeploymentSpec, facts: ModelFacts) -> int:
    """Return the bytes of a number as it is computed; the engine takes ``auto`` of float32 for a type of two bytes."""
    return min(_NUMBER.get(facts.dtype, 2), 2) if spec.dtype == "auto" else _NUMBER[spec.dtype]


def _share(field: str, asked: str | None, *, needed: float, stages: int) -> str:
    if asked is None or needed <= parse_bytes(asked):
        return ""
    return sentences.weights_do_not_fit(field, asked=asked, stages=stages, needed=bytes_text(needed))


def _loaded(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    """Return the least bytes that the weights take once they are loaded."""
    stored = max(_NUMBER.values())  # config.json names the type to compute with; the files may have a larger one
    if facts.quantization or spec.engine.quantization:
        return facts.bytes * _FP8 / stored  # the engine may make them smaller than they are stored
    return facts.bytes * number_bytes(spec, facts) / stored


def _kv_number(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    """Return the bytes of a number in the KV cache."""
    asked = spec.engine.kv_cache_dtype or "auto"
    if asked.startswith("fp8"):
        return _FP8
    if asked != "auto":
        return _NUMBER[asked]
    return _LEAST if facts.quantization else number_bytes(spec, facts)

"""Whether the asked layout can serve this model: what only config.json tells.

Tensor parallelism splits attention heads evenly over devices; KV heads are split, or repeated where there are fewer of
them than devices; a pipeline stage needs at least one layer. Some quantized weights have kernels for GPUs alone, and
``engine.quantization`` may not contradict how the weights are stored. Sources: vLLM's model config checks
(verify_with_parallel_config, _verify_quantization) and its Llama model (num_kv_heads against tp_size).

What is too small by any count is refused as well (sizes.py).
"""

from typing import Final

from llama_operator.api import CPU, LlamaDeploymentSpec
from llama_operator.plan.placement.sizes import SIZE_CHECKS
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import placement as sentences
from llama_serving.config.model import (
    GPU_ONLY_QUANTIZATION,
    QUANTIZATION_FAMILIES,
    SELF_DESCRIBED_QUANTIZATION,
    ModelFacts,
)
from llama_serving.config.reasons import Reason


def check_layout(spec: LlamaDeploymentSpec, facts: ModelFacts) -> tuple[Explanation, ...]:
    """Every contradiction between spec and model, each with the field, the numbers and the remedy."""
    texts = (check(spec, facts) for check in (*_CHECKS, *SIZE_CHECKS))
    return tuple(Explanation(Reason.LAYOUT_REFUSED, text) for text in texts if text)


def _heads(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    tensor = spec.sharding.tensor
    if facts.heads % tensor == 0:
        return ""
    return sentences.heads_not_split(tensor=tensor, heads=facts.heads, use=_divisors(facts.heads))


def _kv_heads(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    tensor, kv = spec.sharding.tensor, facts.kv_heads
    if facts.heads % tensor or kv % tensor == 0 or tensor % kv == 0:
        return ""
    return sentences.kv_heads_not_split(tensor=tensor, heads=kv)


def _layers(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    pipeline = spec.sharding.pipeline
    if pipeline <= facts.layers:
        return ""
    return sentences.too_few_layers(pipeline=pipeline, layers=facts.layers)


def _context(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    if spec.context_length <= facts.max_context:
        return ""
    return sentences.context_too_long(asked=spec.context_length, allowed=facts.max_context)


def _device(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    if spec.device.resource != CPU or facts.quantization not in GPU_ONLY_QUANTIZATION:
        return ""
    return sentences.quantization_needs_gpu(method=facts.quantization)


def _quantization(spec: LlamaDeploymentSpec, facts: ModelFacts) -> str:
    asked, method = spec.engine.quantization, facts.quantization
    if asked in (None, method) or method in SELF_DESCRIBED_QUANTIZATION:
        return ""
    if asked == "fp8" and not method:  # the engine itself makes FP8 of whole weights
        return ""
    if any(asked in family and method in family for family in QUANTIZATION_FAMILIES):
        return ""
    return sentences.quantization_contradicts(asked=str(asked), method=method)


_CHECKS: Final = (_heads, _kv_heads, _layers, _context, _device, _quantization)


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, 64) + 1) if number % n == 0)

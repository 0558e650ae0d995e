"""CPU, memory and shared memory of a stage for which nobody asked, from its devices and the bytes of its weights.

    share      = bytes of the weights / pipeline
    on GPUs    cpu            = 4 + 2 * tensor
               shared memory  = 1Gi + 512Mi * tensor, at least 2Gi
               memory         = 8Gi + 4Gi * tensor + shared memory + share
    on CPU     cpu            = 4
               shared memory  = 2Gi
               memory         = 6Gi + shared memory + loaded + KV cache
               loaded         = share * bytes of a number / 2, at least share

With LoRA adapters, each that is held takes its matrices of the highest rank / pipeline, and on CPU each slot too.

Sources: vLLM asks for 2 + N physical cores for N devices (docs, "CPU resources for GPU deployments"), twice as many as
Kubernetes counts them. Its shared memory takes 160 MB for a group and 240 MB for each rank of the pod
(``shm_broadcast.py``), NCCL about 10 MB a rank. A rank takes 2 to 4 GB of host memory beside its device. The share lets
the files of a stage stay in the page cache, from which it starts again and exchanges weights. On CPU the weights lie in
memory, at two bytes a number where nothing else is known of the files.

Memory is rounded up to whole GiB. What is set is taken as it is, and never more shared memory than half of the memory.
"""

import math
from typing import Final

from llama_operator.api import CPU, LlamaDeploymentSpec, StageSize
from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.plan.adapters.fit import adapter_bytes
from llama_operator.plan.placement.sizes import kv_cache_bytes, number_bytes
from llama_serving.config.model import ModelFacts

_GI: Final = 1 << 30
_MI: Final = 1 << 20
_CPU_CORES: Final = 4
_CONTEXTS: Final = 4  # that the engine's own KV cache holds on CPU


def derived_size(spec: LlamaDeploymentSpec, facts: ModelFacts) -> StageSize:
    """Return the sizes that are set, and for the others what the stage needs."""
    asked, tensor, on_cpu = spec.resources, spec.sharding.tensor, spec.device.resource == CPU
    cores = _CPU_CORES if on_cpu else 4 + 2 * tensor
    shared = 2 * _GI if on_cpu else max(2 * _GI, _GI + 512 * _MI * tensor)
    if asked.shared_memory is not None:
        shared = parse_bytes(asked.shared_memory)
    needed = shared + (_on_cpu if on_cpu else _on_gpus)(spec, facts) + _adapters(spec, facts)
    memory = math.ceil(needed / _GI) * _GI
    if asked.memory is not None:
        memory = parse_bytes(asked.memory)
    return asked.over(
        StageSize(cpu=str(cores), memory=f"{memory // _GI}Gi", shared_memory=_written(min(shared, memory // 2)))
    )


def _adapters(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    limits = spec.adapter_limits.limits() if spec.adapter_limits else None
    if limits is None:
        return 0.0
    kept = limits.held + (limits.slots if spec.device.resource == CPU else 0)
    return kept * adapter_bytes(facts, rank=limits.max_rank) / spec.sharding.pipeline


def _written(size: int) -> str:
    """Write bytes as a quantity, in whole MiB."""
    return f"{size // _GI}Gi" if size % _GI == 0 else f"{size // _MI}Mi"


def _on_gpus(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    return 8 * _GI + 4 * _GI * spec.sharding.tensor + facts.bytes / spec.sharding.pipeline


def _on_cpu(spec: LlamaDeploymentSpec, facts: ModelFacts) -> float:
    loaded = facts.bytes / spec.sharding.pipeline * max(number_bytes(spec, facts) / 2, 1)
    given = spec.engine.kv_cache_memory
    cache = parse_bytes(given) if given else max(_CONTEXTS * kv_cache_bytes(spec, facts), 64 * _MI)
    return 6 * _GI + loaded + cache

"""Imports what a start on GPUs imports, and prints what it runs on."""

import importlib
from typing import Any

MODULES = (
    "ray.serve.llm",
    "ray.serve._private.controller",
    "ray.serve._private.proxy",
    "vllm._C_stable_libtorch",
    "vllm.vllm_flash_attn._vllm_fa3_C",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.ray_executor_v2",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.attention.backends.flash_attn",
    "vllm.v1.attention.backends.flashinfer",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.layers.quantization.fp8",
    "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
    "vllm.entrypoints.openai.api_server",
    "cutlass.cute",
    "llama_serving.cell.replica.entrypoint",
    "llama_serving.cell.rank.worker_extension",
)

for name in MODULES:
    importlib.import_module(name)

torch: Any = importlib.import_module("torch")
platform: Any = importlib.import_module("vllm.platforms").current_platform
assert platform.is_cuda()
print(platform.get_device_name(), platform.get_device_capability().as_version_str(), torch.version.cuda)

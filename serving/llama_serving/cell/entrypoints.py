"""Every dotted string by which Ray, Serve, vLLM or an interpreter finds code of a cell: imports do not show these.

A test resolves each of them, and looks for others.
"""

from typing import Final

SUPERVISOR_MODULE: Final = "llama_serving.cell"  # python -m, the container of a stage
REHEARSAL_MODULE: Final = "llama_serving.cell.rehearsal"  # python -m, the container of a rehearsal
RAY_START_MODULE: Final = "llama_serving.cell.ray.start"  # python -m, the supervisor's child

SERVE_APP: Final = "llama_serving.cell.replica.app:build"  # import path of Serve's application builder
REPLICA_CLASS: Final = "llama_serving.cell.replica.entrypoint.CellServer"  # Serve's deployment class
WORKER_EXTENSION_CLASS: Final = "llama_serving.cell.rank.worker_extension.WorkerExtension"  # mixed into vLLM's worker

CPU_ENGINE_CLASS: Final = "llama_serving.cpu.engine.CpuStagesEngine"  # value of RAYLLM_VLLM_ENGINE_CLS
CPU_WORKER_CLASS: Final = "llama_serving.cpu.worker.StageWorker"  # vLLM's worker_cls
GPU_ENGINE_CLASS: Final = "llama_serving.gpu.engine.GpuStagesEngine"  # value of RAYLLM_VLLM_ENGINE_CLS

# Modules that the process of a stage imports before the leader asks for it, by device.
CPU_STAGE_MODULES: Final = ("llama_serving.cpu.executor", "llama_serving.cpu.worker")
GPU_STAGE_MODULES: Final = ("llama_serving.gpu.executor", "vllm.v1.worker.gpu_worker")

# Modules that the fork server of CPU engine cores imports.
CPU_ENGINE_CORE_MODULES: Final = ("llama_serving.cpu.executor", "vllm.v1.engine.core")

"""The engine of ``ray.serve.llm`` with the stages of a model as Ray actors on CPU bundles.

Stock Ray Serve LLM sets the executor "mp" for every CPU config: all stages would be children of the replica, in one
pod. Selected by the environment variable ``RAYLLM_VLLM_ENGINE_CLS``.
"""

from typing import TYPE_CHECKING, Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from llama_serving.cell.entrypoints import CPU_WORKER_CLASS
from llama_serving.cpu.engine_process import use_for_engine_cores
from llama_serving.cpu.executor import CpuStagesExecutor
from llama_serving.cpu.model_inspection import inspect_in_this_process
from llama_serving.engine.driver_address import export_driver_address
from llama_serving.engine.replayed_grammar import configure_grammars

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.engine.protocol import EngineClient


class CpuStagesEngine(VLLMEngine):  # type: ignore[misc]
    """Starts vLLM with ``CpuStagesExecutor`` and ``StageWorker``; all else is stock."""

    async def start(self) -> None:
        """Start the engine."""
        inspect_in_this_process()
        await super().start()

    def _start_async_llm_engine(
        self,
        vllm_engine_args: "AsyncEngineArgs",
        vllm_engine_config: "VllmConfig",
        placement_group: "PlacementGroup",
    ) -> "EngineClient":
        use_stage_actors(vllm_engine_config.parallel_config)
        configure_grammars(vllm_engine_config)
        export_driver_address()
        use_for_engine_cores()
        return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)


def use_stage_actors(parallel_config: Any) -> None:
    """Put our executor and worker into a finished engine config.

    The executor goes in as a class, and only now: given earlier as an import path, vLLM 0.32 refuses pipeline stages
    ("Pipeline Parallelism without Ray distributed executor ... is not supported").
    """
    parallel_config.distributed_executor_backend = CpuStagesExecutor
    parallel_config.worker_cls = CPU_WORKER_CLASS

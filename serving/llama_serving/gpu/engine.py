"""The engine of ``ray.serve.llm`` on GPUs, with the executor of this project.

Selected by the environment variable ``RAYLLM_VLLM_ENGINE_CLS``.
"""

from typing import TYPE_CHECKING, Any

from ray.llm._internal.serve.engines.vllm import vllm_engine as stock
from vllm.v1.executor.abstract import Executor

from llama_serving.engine.driver_address import export_driver_address
from llama_serving.engine.replayed_grammar import configure_grammars
from llama_serving.gpu.executor import GpuStagesExecutor

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.engine.protocol import EngineClient

RAY_BACKEND = "ray"


class GpuStagesEngine(stock.VLLMEngine):  # type: ignore[misc]
    """Starts vLLM with ``GpuStagesExecutor``; all else is stock."""

    def _prepare_engine_config(self, callback_ctx: Any) -> tuple[Any, Any, Any]:  # noqa: ARG002  # stock's signature
        """Build the config in this process, which sees all devices of its pod.

        Stock does it in a task of its own, which imports vLLM once more, in any pod of the group.
        """
        arguments, config = stock._get_vllm_engine_config(self.llm_config)  # noqa: SLF001
        return arguments, stock.FrontendArgs(**self.llm_config.get_engine_config().frontend_kwargs), config

    def _start_async_llm_engine(
        self,
        vllm_engine_args: "AsyncEngineArgs",
        vllm_engine_config: "VllmConfig",
        placement_group: "PlacementGroup",
    ) -> "EngineClient":
        use_stage_executor()
        configure_grammars(vllm_engine_config)
        export_driver_address()
        return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)


def use_stage_executor() -> None:
    """Let vLLM take our executor where the config says "ray". Calling it twice is harmless.

    The config keeps the string: vLLM's GPU worker compares with it, and with any other value believes that all ranks of
    the group share its node ("local_world_size (16) exceeds assigned_physical_gpu_ids count (8)").
    """
    chosen = getattr(Executor.get_class, "stock", Executor.get_class)

    def get_class(config: "VllmConfig") -> type[Executor]:
        if config.parallel_config.distributed_executor_backend == RAY_BACKEND:
            return GpuStagesExecutor
        return chosen(config)  # type: ignore[no-any-return]

    get_class.stock = chosen  # type: ignore[attr-defined]
    Executor.get_class = staticmethod(get_class)

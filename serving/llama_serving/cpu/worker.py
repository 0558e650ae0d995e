"""vLLM's CPU worker as one stage of a pipeline over several pods."""

from typing import Any

from vllm.distributed.parallel_state import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker

from llama_serving.cpu.heap import keep_freed_memory
from llama_serving.cpu.intermediate import ensure_intermediate_tensors
from llama_serving.cpu.shm_name import name_regions_by_memory


class StageWorker(CPUWorker):  # type: ignore[misc]
    """Applies the fixes that belong into the process of a stage; each module says why."""

    def init_device(self) -> None:
        """As stock, but regions of shared memory are named by the memory that they are in, and freed memory is kept."""
        keep_freed_memory()
        name_regions_by_memory()
        if self.vllm_config.lora_config is not None:
            from llama_serving.cpu.base_rows import leave_base_rows_alone  # imports what only adapters need

            leave_base_rows_alone()
        super().init_device()

    def compile_or_warm_up_model(self) -> Any:
        """As stock; afterwards the buffer for the previous stage's output exists."""
        times = super().compile_or_warm_up_model()
        ensure_intermediate_tensors(self.model_runner, first_stage=get_pp_group().is_first_rank)
        return times

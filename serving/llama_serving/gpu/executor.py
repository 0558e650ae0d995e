"""vLLM's Ray executor (V2) on bundles of GPUs: stock, with two changes.

* A dead stage ends the engine core at once. Stock, the requests on it hang for 300 s.
* The ranks are actors without a ``runtime_env``. Stock gives them one, for a variable that is set before Ray starts
  here (``engine_args``). An actor with its own environment cannot use a process that Ray made ahead: such a process
  has imported vLLM, and would stay beside the ranks for nothing.
"""

from collections.abc import Callable
from typing import Any

from vllm.v1.executor.ray_executor_v2 import RayExecutorV2

from llama_serving.engine.driver_address import connect_driver
from llama_serving.engine.stage_death import ending_the_process


class GpuStagesExecutor(RayExecutorV2):  # type: ignore[misc]
    """Runs in the engine core; one actor per rank."""

    def _build_runtime_env(self) -> dict[str, Any]:
        """Return nothing, so that the ranks may use processes that were made ahead."""
        return {}

    def _init_executor(self) -> None:
        connect_driver()
        super()._init_executor()

    def register_failure_callback(self, callback: Callable[[], None]) -> None:
        """Tell the engine of a dead stage, and end the engine core."""
        super().register_failure_callback(ending_the_process(callback))

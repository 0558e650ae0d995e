"""A dead stage ends the engine core, with the executor of each device."""

import os
import time
from importlib import import_module

import pytest

from llama_serving.engine.stage_death import EXIT_CODE

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("llama_serving.cpu.executor", "CpuStagesExecutor"),
        ("llama_serving.gpu.executor", "GpuStagesExecutor"),
    ],
)
def test_a_failure_of_a_stage_ends_the_process_of_the_engine_core(module: str, name: str) -> None:
    """Stock only calls back; the main thread stays where it hangs. A child of this process shows that ours does end."""
    executor_class = getattr(import_module(module), name)
    executor = executor_class.__new__(executor_class)
    executor.is_failed, executor.failure_callback = False, None
    executor.register_failure_callback(lambda: None)
    child = os.fork()
    if child == 0:
        try:
            executor.failure_callback()
            time.sleep(60)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == EXIT_CODE

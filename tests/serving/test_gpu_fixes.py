"""What ``llama_serving.gpu`` changes of the real vLLM and Ray: what stock does, and what becomes of it.

A test that fails in its "stock" half after an upgrade says that the change is no longer needed.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llama_serving.cell.shared.engine_args import engine_environment
from tests.unit.cell.worlds import config

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")


@pytest.fixture(autouse=True)
def stock_vllm() -> Iterator[None]:
    """Put back what is replaced."""
    from vllm.v1.executor.abstract import Executor

    kept = Executor.get_class
    yield
    Executor.get_class = staticmethod(kept)


def asking(backend: str) -> Any:
    return SimpleNamespace(parallel_config=SimpleNamespace(distributed_executor_backend=backend))


def test_the_config_says_ray_and_gets_our_executor() -> None:
    from vllm.v1.executor.abstract import Executor
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor
    from vllm.v1.executor.ray_executor_v2 import RayExecutorV2

    from llama_serving.gpu.engine import use_stage_executor
    from llama_serving.gpu.executor import GpuStagesExecutor

    assert Executor.get_class(asking("ray")) is RayExecutorV2
    for _ in range(2):
        use_stage_executor()
    assert Executor.get_class(asking("ray")) is GpuStagesExecutor
    assert Executor.get_class(asking("mp")) is MultiprocExecutor


def test_a_rank_knows_by_the_word_ray_that_others_are_on_other_nodes() -> None:
    """So the class may not stand in the config in place of the word."""
    from vllm.v1.worker import gpu_worker

    source = inspect.getsource(gpu_worker.Worker.init_device)
    [told] = [part for part in source.split("if ") if "local_world_size <= len(" in part]
    assert "distributed_executor_backend not in (" in told
    assert '"ray"' in told


def test_stock_gives_each_rank_an_environment_and_ours_has_it_before_ray_starts() -> None:
    import vllm
    from vllm.v1.executor.ray_executor_v2 import RayExecutorV2

    from llama_serving.gpu.executor import GpuStagesExecutor

    parallel = SimpleNamespace(ray_runtime_env=None, ray_workers_use_nsight=False)
    executor: Any = SimpleNamespace(parallel_config=parallel)
    assert "env_vars" in RayExecutorV2._build_runtime_env(executor)
    assert GpuStagesExecutor._build_runtime_env(executor) == {}
    cuda = ast.parse((Path(vllm.__file__).parent / "platforms/cuda.py").read_text(encoding="utf-8"))
    wanted = [
        ast.literal_eval(node.value)
        for node in ast.walk(cuda)
        if isinstance(node, ast.AnnAssign) and node.value is not None and "ray_noset" in ast.unparse(node.target)
    ]
    assert wanted == [["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]]
    environment = engine_environment(config(device="gpu"))
    assert [environment[name] for name in wanted[0]] == ["1"]


def test_stock_builds_the_config_in_a_task_and_ours_in_the_replica() -> None:
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

    from llama_serving.gpu.engine import GpuStagesEngine

    assert "ray.remote(_get_vllm_engine_config)" in inspect.getsource(VLLMEngine._prepare_engine_config).replace(
        "\n", ""
    )
    assert "remote" not in GpuStagesEngine._prepare_engine_config.__code__.co_names
    assert "_start_async_llm_engine" in VLLMEngine.start.__code__.co_names

"""vLLM's Ray executor (V2) on bundles of CPUs.

Stock code refuses ("current platform cpu does not support ray") because the CPU platform names no Ray resource, and
asks each stage's actor for the ids of its accelerators. Here the resource is ``CPU`` and a stage has no such ids.

Which rank is on which node follows from ``VLLM_RAY_BUNDLE_INDICES`` (rank = bundle = stage). The message queue to the
stages takes ranks ``0..n-1`` as those on its own node; that holds because the replica is pinned to stage 0's pod.
"""

from collections.abc import Callable
from typing import Any

import ray
import vllm.v1.executor.ray_executor_v2 as v2
from vllm.platforms import current_platform

from llama_serving.cpu.waiting import nap_while_waiting
from llama_serving.engine.driver_address import connect_driver
from llama_serving.engine.stage_death import ending_the_process

RAY_RESOURCE = "CPU"


class StageProc(v2.RayWorkerProc):  # type: ignore[misc]
    """The actor of one stage."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        nap_while_waiting()
        super().__init__(*arguments, **options)

    def get_node_and_physical_gpu_ids(self) -> tuple[str, list[int]]:
        """Return the node of this actor, and no accelerators."""
        return ray.get_runtime_context().get_node_id(), []


class CpuStagesExecutor(v2.RayExecutorV2):  # type: ignore[misc]
    """Runs in the engine core; one actor per stage."""

    @staticmethod
    def _get_actor_resource_kwargs() -> dict[str, Any]:
        """Ask for nothing: the placement group holds the CPU of the bundle."""
        return {}

    def _build_runtime_env(self) -> dict[str, Any]:
        """Return nothing: the environment is set before Ray starts; an actor with its own gets no ready process."""
        return {}

    def _init_executor(self) -> None:
        use_cpu_bundles()
        nap_while_waiting()
        connect_driver()
        super()._init_executor()

    def register_failure_callback(self, callback: Callable[[], None]) -> None:
        """Tell the engine of a dead stage, and end the engine core."""
        super().register_failure_callback(ending_the_process(callback))


def use_cpu_bundles() -> None:
    """Make vLLM's Ray code of this process look for CPU bundles and use ``StageProc``.

    Both are globals in the middle of ``RayExecutorV2._init_executor``, 200 lines that are not ours to copy.
    """
    type(current_platform).ray_device_key = RAY_RESOURCE
    v2.RayWorkerProc = StageProc

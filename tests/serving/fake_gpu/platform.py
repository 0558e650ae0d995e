"""vLLM's CPU platform with the answers of the CUDA platform wherever they decide how processes are made and placed."""

import os
from typing import Any, Final

from vllm.platforms.cpu import CpuPlatform

from tests.serving.fake_gpu import DEVICES_VARIABLE, wait_without_spinning

_START_METHOD: Final = "VLLM_WORKER_MULTIPROC_METHOD"
_CPU_WORKER: Final = "vllm.v1.worker.cpu_worker.CPUWorker"
_WORKER: Final = "tests.serving.fake_gpu.worker.FakeGpuWorker"


class FakeGpuPlatform(CpuPlatform):  # type: ignore[misc]
    """A GPU by name."""

    ray_device_key = "GPU"
    ray_noset_device_env_vars = ("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES",)

    @classmethod
    def device_control_id_to_physical_device_id(cls, device_id: str) -> int:
        """Return the number that Ray gave the device."""
        return int(device_id)

    @classmethod
    def device_count(cls) -> int:
        """Return the devices of this pod."""
        return int(os.environ[DEVICES_VARIABLE])

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """As on a CPU, but without its start method: CUDA leaves that to vLLM, which exports RAY_ADDRESS then."""
        wait_without_spinning()
        before = os.environ.get(_START_METHOD)
        super().check_and_update_config(vllm_config)
        if before is None:
            os.environ.pop(_START_METHOD, None)
        if vllm_config.parallel_config.worker_cls == _CPU_WORKER:
            vllm_config.parallel_config.worker_cls = _WORKER

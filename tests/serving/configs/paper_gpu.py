"""GPUs on paper: vLLM's own CUDA platform, whose devices answer by a table instead of a driver.

vLLM for CPUs and for CUDA have the same Python code, so that this says what the CUDA build makes of a configuration on
a type of GPU: whether it takes it, and which attention it computes with. What is compiled is missing, and is stood in
for by empty modules. Import this module before any other one imports vLLM.
"""

# ruff: noqa: ARG003  # the signatures are vLLM's

import sys
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Final

import vllm.platforms as platforms

_COMPILED: Final = (
    "vllm._C_stable_libtorch",
    "vllm._moe_C_stable_libtorch",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
)


#: What compiled code says of a device, and from which compute capability on.
_FROM_CAPABILITY: Final = {
    "cutlass_scaled_mm_supports_fp8": 89,
    "cutlass_scaled_mm_supports_block_fp8": 90,
    "cutlass_group_gemm_supported": 90,
    "cutlass_scaled_mm_supports_fp4": 100,
    "mxfp4_experts_quant_supported": 100,
}


@dataclass(frozen=True)
class Gpu:
    """A type of GPU."""

    name: str
    capability: tuple[int, int]
    memory: int  # bytes, as the driver names them


H100: Final = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85_520_809_984)
H200: Final = Gpu("NVIDIA H200", (9, 0), 150_754_820_096)
A100: Final = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 85_899_345_920)
L40S: Final = Gpu("NVIDIA L40S", (8, 9), 48_305_799_168)
L4: Final = Gpu("NVIDIA L4", (8, 9), 24_152_899_584)
B200: Final = Gpu("NVIDIA B200", (10, 0), 191_512_969_216)

_present: list[Gpu] = [H100]


def use(gpu: Gpu) -> None:
    """Let the machine have GPUs of this type from now on."""
    from vllm.v1.attention import selector

    _present[0] = gpu
    selector._cached_get_attn_backend.cache_clear()


def install() -> None:
    """Make vLLM see GPUs; nothing may have asked it for its platform yet."""
    assert platforms._current_platform is None
    for name in _COMPILED:
        sys.modules[name] = ModuleType(name)
    platforms.resolve_current_platform_cls_qualname = lambda: f"{__name__}.PaperPlatform"
    from vllm import _custom_ops

    for name, least in _FROM_CAPABILITY.items():
        setattr(_custom_ops, name, partial(int.__le__, least))


def __getattr__(name: str) -> Any:
    """Make the platform when vLLM asks for it: its base class can be imported only after ``install``."""
    if name != "PaperPlatform":
        raise AttributeError(name)
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class PaperPlatform(CudaPlatformBase):  # type: ignore[misc]
        """The CUDA platform with devices of ``_present``; all of them are alike."""

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
            return DeviceCapability(*_present[0].capability)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return _present[0].name

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return _present[0].memory

        @classmethod
        def device_count(cls) -> int:
            return 8

        @classmethod
        def is_fully_connected(cls, device_ids: list[int]) -> bool:
            return True

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 132

    globals()["PaperPlatform"] = PaperPlatform
    return PaperPlatform

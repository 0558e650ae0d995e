"""Words of an engine that are about a device, and what a stage needs of its devices."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.cell.policy.devices import (
    SLACK,
    DeviceNeeds,
    DeviceReading,
    DriverReading,
    device_fault,
    device_needs,
    engine_device_fault,
)
from llama_serving.config.reasons import CellReason
from tests.unit.cell.worlds import config

UNHEALTHY, BUSY, MISSING = CellReason.DEVICE_UNHEALTHY, CellReason.DEVICE_BUSY, CellReason.DEVICES_MISSING


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", UNHEALTHY),
        ("AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution", UNHEALTHY),
        ("NVMLError_GpuIsLost: GPU is lost", UNHEALTHY),
        ("RuntimeError: Found no NVIDIA driver on your system.", MISSING),
        ("RuntimeError: No CUDA GPUs are available: no CUDA-capable device is detected", MISSING),
        ("RuntimeError: Failed to infer device type", MISSING),
        ("RuntimeError: CUDA driver version is insufficient for CUDA runtime version", CellReason.DRIVER_TOO_OLD),
        ("ValueError: Free memory on device cuda:0 (77.1/79.1 GiB) on startup is less than desired GPU memory", None),
        ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", BUSY),
        ("ValueError: To serve at least one request with the model's max seq len (131072), 16 GiB KV cache is", None),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB", None),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", None),
        ("RuntimeError: NCCL error: unhandled system error", None),
        ("EngineDeadError: a stage died", None),
        ("", None),
    ],
)
def test_the_words_of_an_engine_blame_a_device_only_where_they_are_about_one(
    words: str, reason: CellReason | None
) -> None:
    assert engine_device_fault(words) is reason


def test_what_a_stage_needs_follows_from_its_config() -> None:
    assert device_needs(config()) is None
    assert device_needs(config(tensor=8, device="gpu")) == DeviceNeeds(8, 0.92)
    asked = config(tensor=2, device="gpu", engine_options={"gpu_memory_utilization": 0.5})
    assert device_needs(asked) == DeviceNeeds(2, 0.5)


@settings(deadline=None)
@given(
    total=st.integers(1, 200 * 10**9),
    free=st.floats(0, 1),
    utilization=st.floats(0.05, 1),
    mode=st.sampled_from([0, 3]),
)
def test_a_device_is_busy_exactly_when_the_engine_would_not_get_its_memory(
    *, total: int, free: float, utilization: float, mode: int
) -> None:
    device = DeviceReading(index=0, uuid="GPU-0", total=total, free=int(free * total), compute_mode=mode)
    fault = device_fault(DriverReading(driver="580.1", devices=(device,)), DeviceNeeds(1, utilization))
    assert (fault is not None) == (device.free < (utilization - SLACK) * total)
    assert fault is None or (fault.reason is BUSY and "GPU-0" in fault.message)


@settings(deadline=None)
@given(found=st.integers(0, 20), needed=st.integers(1, 16), driver=st.sampled_from(["579.99", "580", "999.1", "x"]))
def test_driver_and_count_decide_before_any_device(found: int, needed: int, driver: str) -> None:
    devices = tuple(DeviceReading(index=index, total=100, free=100) for index in range(found))
    fault = device_fault(DriverReading(driver=driver, devices=devices), DeviceNeeds(needed))
    if driver == "579.99":
        assert fault is not None
        assert fault.reason is CellReason.DRIVER_TOO_OLD
    elif found != needed:
        assert fault is not None
        assert fault.reason is MISSING
        assert str(found) in fault.message
        assert str(needed) in fault.message
    else:
        assert fault is None

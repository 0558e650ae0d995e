"""What stands against the devices of a stage, by what NVIDIA's management library (NVML) says of them.

=======================================================  =================
seen                                                     reason
=======================================================  =================
no library, no driver, another number of devices         DevicesMissing
a driver below ``LEAST_DRIVER``                          DriverTooOld
a call that fails, ECC errors, a reset that is pending   DeviceUnhealthy
too little free memory, a compute mode without room      DeviceBusy
=======================================================  =================

An engine that fails later may name a device too, in the words of CUDA (``engine_device_fault``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.config.cell import CellConfig, Frozen
from llama_serving.config.reasons import CellReason
from llama_serving.config.wording import bytes_text, plural

#: Of CUDA 13: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes, minor version compatibility.
LEAST_DRIVER: Final = 580
#: vLLM's default of ``gpu_memory_utilization``; it refuses a device on which less is free.
UTILIZATION: Final = 0.92
#: Part of a device's memory by which the library's count and the engine's may differ.
SLACK: Final = 0.01

_UTILIZATION_OPTION: Final = "gpu_memory_utilization"
_PROHIBITED: Final = 2  # nvmlComputeMode_t
_EXCLUSIVE: Final = frozenset({1, 3})  # of a thread (older drivers), of a process
_NOT_LOADED: Final = frozenset({9, 12})  # nvmlReturn_t: the driver, or a part of the library, is not there
_RECOVERY: Final = {  # nvmlDeviceGpuRecoveryAction_t
    1: "a reset of the device",
    2: "a reboot of its node",
    3: "a reset of the device once its peers have stopped",
    4: "a drain and a reset of the device",
}


class CallFailure(Frozen):
    """A call of NVML that failed. ``code`` is its nvmlReturn_t; -1: the library never answered."""

    call: str
    code: int
    text: str = ""


class DeviceReading(Frozen):
    """One device, or one MIG instance of it."""

    index: int
    uuid: str = ""
    total: int = 0  # bytes that the engine counts: without what the driver keeps for itself
    free: int = 0  # bytes
    compute_mode: int = 0
    processes: int = 0  # that compute on it
    uncorrected: int = 0  # ECC errors since the driver was loaded
    pending: bool = False  # pages or rows are replaced with its next reset
    remap_failed: bool = False  # there are no spare rows any more
    recovery: int = 0  # what the driver wants done with it
    failed: CallFailure | None = None

    @property
    def name(self) -> str:
        """Index and uuid, for humans."""
        return f"device {self.index} ({self.uuid})" if self.uuid else f"device {self.index}"


class DriverReading(Frozen):
    """Everything that was read at one moment."""

    missing: str = ""  # why the library cannot be loaded
    driver: str = ""  # version
    failed: CallFailure | None = None  # a call that concerns no device
    devices: tuple[DeviceReading, ...] = ()


@dataclass(frozen=True)
class DeviceNeeds:
    """What a stage needs: a number of devices, and the part of their memory that the engine takes."""

    count: int
    utilization: float = UTILIZATION


def device_needs(config: CellConfig) -> DeviceNeeds | None:
    """Return what each stage of the group needs; None where it computes on CPU."""
    if config.layout.device != "gpu":
        return None
    return DeviceNeeds(config.layout.tensor, float(config.engine_options.get(_UTILIZATION_OPTION, UTILIZATION)))


def device_fault(seen: DriverReading, needs: DeviceNeeds) -> CellFault | None:
    """Return the first thing that stands against the devices; None where the engine may have them."""
    return next(_faults(seen, needs), None)


def _faults(seen: DriverReading, needs: DeviceNeeds) -> Iterator[CellFault]:
    if seen.missing:
        yield _missing(
            f"no NVIDIA driver reaches the container ({seen.missing}), {plural(needs.count, 'device')} asked for;"
            " check the driver of the node, the container toolkit and the runtime class of the pod"
        )
    if seen.failed is not None:
        yield _driver_failed(seen.failed)
    yield from _too_old(seen.driver)
    yield from _wrong_count(len(seen.devices), needs.count)
    for device in seen.devices:
        yield from (CellFault(CellReason.DEVICE_UNHEALTHY, text) for text in _unhealthy(device))
    for device in seen.devices:
        yield from (CellFault(CellReason.DEVICE_BUSY, text) for text in _busy(device, needs.utilization))


def _missing(text: str) -> CellFault:
    return CellFault(CellReason.DEVICES_MISSING, text)


def _driver_failed(failure: CallFailure) -> CellFault:
    text = f"{_call(failure)}; look at the driver of the node with nvidia-smi and dmesg"
    return CellFault(CellReason.DEVICES_MISSING if failure.code in _NOT_LOADED else CellReason.DEVICE_UNHEALTHY, text)


def _call(failure: CallFailure) -> str:
    said = f" ({failure.text})" if failure.text else ""
    if failure.code < 0:
        return f"{failure.call} of the NVIDIA driver did not return{said}"
    return f"{failure.call} of the NVIDIA driver failed with code {failure.code}{said}"


def _too_old(driver: str) -> Iterator[CellFault]:
    version = re.match(r"\d+", driver)
    if version is not None and int(version[0]) < LEAST_DRIVER:
        text = f"the NVIDIA driver is {driver}, the engine's CUDA needs at least {LEAST_DRIVER}; upgrade the driver"
        yield CellFault(CellReason.DRIVER_TOO_OLD, text)


def _wrong_count(found: int, needed: int) -> Iterator[CellFault]:
    if found < needed:
        yield _missing(
            f"{found} of {plural(needed, 'device')} are there; check the device plug-in of the node, and dmesg for a"
            " device that has fallen off the bus"
        )
    if found > needed:
        yield _missing(
            f"the container sees {plural(found, 'device')}, {needed} are its own, so which ones is not known; let the"
            " device plug-in give devices out, without NVIDIA_VISIBLE_DEVICES=all"
        )


def _unhealthy(device: DeviceReading) -> Iterator[str]:
    if device.failed is not None:
        yield f"{device.name}: {_call(device.failed)}; reset it or replace it"
    if device.recovery:
        action = _RECOVERY.get(device.recovery, f"recovery action {device.recovery}")
        yield f"{device.name}: the driver asks for {action}"
    if device.remap_failed:
        yield f"{device.name}: its memory has no spare rows left for those that failed; replace it"
    if device.pending:
        yield f"{device.name}: memory that failed is replaced with the next reset; reset it"
    if device.uncorrected:
        yield (
            f"{device.name}: {plural(device.uncorrected, 'uncorrected ECC error')} since the driver was loaded;"
            " reset it, and replace it if they come back"
        )


def _busy(device: DeviceReading, utilization: float) -> Iterator[str]:
    others = plural(device.processes, "other process", "other processes")
    if device.compute_mode == _PROHIBITED:
        yield f"{device.name}: its compute mode is prohibited; set it to default with nvidia-smi -c 0"
    if device.compute_mode in _EXCLUSIVE and device.processes:
        yield f"{device.name}: its compute mode is exclusive, and {others} computes on it; end it"
    if device.free < (utilization - SLACK) * device.total:
        wanted = bytes_text(utilization * device.total)
        has = f"{bytes_text(device.free)} of {bytes_text(device.total)}"
        yield (
            f"{device.name}: {has} are free, the engine takes {wanted} (engine.gpuMemoryUtilization {utilization:g}),"
            f" {others} on it; end what holds the rest, or lower the field"
        )


#: What CUDA, NCCL and vLLM write when a device, and not the model, ended the engine.
_ENGINE_WORDS: Final[tuple[tuple[CellReason, re.Pattern[str]], ...]] = (
    (CellReason.DRIVER_TOO_OLD, re.compile(r"driver version is insufficient|NVIDIA driver on your system is too old")),
    (
        CellReason.DEVICES_MISSING,
        re.compile(r"no CUDA-capable device|Found no NVIDIA driver|Failed to infer device type|invalid device ordinal"),
    ),
    (
        CellReason.DEVICE_UNHEALTHY,
        re.compile(
            r"(?i)uncorrectable (ECC|NVLink)|hardware stack error|GPU (is lost|has fallen off)|fallen off the bus"
            r"|device requires reset|system not yet initialized|unrecoverable|NVML(_| )ERROR|NVMLError"
        ),
    ),
    (
        CellReason.DEVICE_BUSY,
        re.compile(r"busy or unavailable|exclusive (process|thread)"),
    ),
)


def engine_device_fault(error: str) -> CellReason | None:
    """Return the reason of an engine's last error that is about a device; None for any other."""
    return next((reason for reason, words in _ENGINE_WORDS if words.search(error)), None)

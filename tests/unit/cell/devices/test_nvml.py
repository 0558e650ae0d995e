"""The reading of driver and devices against a library made of paper: faults come and go while processes run."""

import sys
from itertools import pairwise
from typing import Any

import pytest

from llama_serving.cell.devices import check
from llama_serving.cell.devices.check import DeviceCheck, DriverReader
from llama_serving.cell.policy.devices import DeviceNeeds, DriverReading
from llama_serving.config.reasons import CellReason
from tests.paper.nvml import PaperNvml
from tests.unit.cell.fakes import FakeClock

GB = 10**9
BOTH = DeviceNeeds(2)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> PaperNvml:
    return PaperNvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def paper(library: PaperNvml, monkeypatch: pytest.MonkeyPatch) -> PaperNvml:
    """Two healthy devices."""
    for name, value in library.environment.items():
        monkeypatch.setenv(name, value)
    library.devices(2)
    return library


async def said(needs: DeviceNeeds = BOTH) -> tuple[CellReason, str] | None:
    """What the supervisor would say now, with a real child process."""
    fault = await DeviceCheck(needs, read=DriverReader(), clock=FakeClock()).fault()
    return None if fault is None else (fault.reason, fault.message)


@pytest.mark.usefixtures("paper")
async def test_healthy_devices_are_read_whole() -> None:
    reading = await DriverReader()()
    assert reading.driver == "580.65.06"
    assert [device.uuid for device in reading.devices] == ["GPU-paper-0", "GPU-paper-1"]
    assert reading.devices[1].total == reading.devices[1].free == 85520809984
    assert await said() is None


UNHEALTHY, BUSY, MISSING = CellReason.DEVICE_UNHEALTHY, CellReason.DEVICE_BUSY, CellReason.DEVICES_MISSING
FAULTS: list[tuple[dict[str, Any], CellReason, str]] = [
    ({"count": 0}, MISSING, "0 of 2 devices are there"),
    ({"count": 1}, MISSING, "1 of 2 devices are there"),
    ({"count": 3}, MISSING, "the container sees 3 devices, 2 are its own"),
    ({"driver": "550.54.15"}, CellReason.DRIVER_TOO_OLD, "the NVIDIA driver is 550.54.15, the engine's CUDA needs at"),
    ({"one": {"ecc": 3}}, UNHEALTHY, "device 1 (GPU-paper-1): 3 uncorrected ECC errors"),
    ({"one": {"pending": 1}}, UNHEALTHY, "device 1 (GPU-paper-1): memory that failed is replaced with the next reset"),
    ({"zero": {"remap_failed": 1}}, UNHEALTHY, "device 0 (GPU-paper-0): its memory has no spare rows"),
    ({"one": {"recovery": 2}}, UNHEALTHY, "device 1 (GPU-paper-1): the driver asks for a reboot of its node"),
    ({"one": {"recovery": 9}}, UNHEALTHY, "device 1 (GPU-paper-1): the driver asks for recovery action 9"),
    ({"one": {"free": 12 * GB}}, BUSY, "device 1 (GPU-paper-1): 12.0 GB of 85.5 GB are free, the engine takes 78.7 GB"),
    ({"one": {"mode": 2}}, BUSY, "device 1 (GPU-paper-1): its compute mode is prohibited"),
    ({"zero": {"mode": 3, "processes": 1}}, BUSY, "its compute mode is exclusive, and 1 other process computes on it"),
    (
        {"one": {"fail_nvmlDeviceGetHandleByIndex_v2": 15}},
        UNHEALTHY,
        "device 1: nvmlDeviceGetHandleByIndex_v2 of the NVIDIA driver failed with code 15 (GPU is lost)",
    ),
    (
        {"zero": {"fail_nvmlDeviceGetMemoryInfo_v2": 999}},
        UNHEALTHY,
        "device 0 (GPU-paper-0): nvmlDeviceGetMemoryInfo_v2 of the NVIDIA driver failed with code 999 (Unknown Error)",
    ),
    ({"fail_nvmlInit_v2": 9}, MISSING, "nvmlInit_v2 of the NVIDIA driver failed with code 9 (Driver Not Loaded)"),
    ({"fail_nvmlInit_v2": 18}, UNHEALTHY, "failed with code 18 (Driver/library version mismatch)"),
    ({"crash_nvmlDeviceGetUUID": 1}, UNHEALTHY, "the management library of the NVIDIA driver failed with code 6 (it"),
]


@pytest.mark.parametrize(("what", "reason", "words"), FAULTS, ids=[str(what) for what, _, _ in FAULTS])
async def test_each_fault_has_its_reason_and_goes_when_it_is_gone(
    *, paper: PaperNvml, what: dict[str, Any], reason: CellReason, words: str
) -> None:
    assert await said() is None
    paper.devices(**{"count": 2} | what)
    found = await said()
    assert found is not None
    assert found[0] is reason
    assert words in found[1]
    paper.devices(2)
    assert await said() is None


@pytest.mark.parametrize(
    "what",
    [
        {"zero": {"mode": 3}},
        {"reserved": 20 * GB, "free": 65 * GB},
        {"fail_nvmlDeviceGetMemoryInfo_v2": 13},
        {"one": {"fail_nvmlDeviceGetTotalEccErrors": 3}},
        {"fail_nvmlDeviceGetMigMode": 3},
    ],
)
async def test_what_a_device_cannot_tell_or_nobody_uses_is_no_fault(paper: PaperNvml, what: dict[str, Any]) -> None:
    paper.devices(2, **what)
    assert await said() is None


async def test_the_instances_of_a_device_count_and_share_its_health(paper: PaperNvml) -> None:
    paper.devices(1, mig=2)
    assert await said() is None
    paper.devices(1, mig=2, ecc=1)
    found = await said()
    assert found is not None
    assert found[1].startswith("device 0 (MIG-paper-0-0): 1 uncorrected ECC error since")


async def test_without_a_library_the_sentence_names_the_toolkit_and_the_runtime_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    found = await said()
    assert found is not None
    assert found[0] is CellReason.DEVICES_MISSING
    assert "libnvidia-ml.so.1" in found[1]
    assert "runtime class" in found[1]


async def test_a_call_that_hangs_is_said_and_tried_again(paper: PaperNvml) -> None:
    paper.devices(2, hang_nvmlInit_v2=1)
    reader = DriverReader(deadline=1.0)
    fault = await DeviceCheck(BOTH, read=reader, clock=FakeClock()).fault()
    assert fault is not None
    assert fault.reason is CellReason.DEVICE_UNHEALTHY
    assert "did not return" in fault.message
    paper.devices(2)
    assert await said() is None


async def test_a_child_that_says_nothing_useful_is_a_fault_with_its_words() -> None:
    reader = DriverReader((sys.executable, "-c", "import sys; sys.exit('no such thing')"))
    reading = await reader()
    assert reading.failed is not None
    assert reading.failed.text == "it ended with exit code 1: no such thing"


class Readings:
    """What is read next, and how often it was."""

    def __init__(self) -> None:
        self.now = DriverReading(missing="no library")
        self.times: list[float] = []
        self.clock = FakeClock()

    async def __call__(self) -> DriverReading:
        self.times.append(self.clock())
        return self.now


async def test_a_fault_is_read_again_at_growing_pauses_and_good_devices_every_ten_seconds() -> None:
    readings = Readings()
    devices = DeviceCheck(DeviceNeeds(0), read=readings, clock=readings.clock)
    for _ in range(400):
        assert await devices.fault() is not None
        readings.clock.now += 0.5
    pauses = [after - before for before, after in pairwise(readings.times)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (check.FIRST_PAUSE, check.LONGEST_PAUSE)
    readings.now = DriverReading(driver="580.1")
    readings.clock.now += check.LONGEST_PAUSE
    assert await devices.fault() is None
    count = len(readings.times)
    readings.clock.now += check.ACCEPTED_SECONDS - 0.5
    assert await devices.fault() is None
    assert len(readings.times) == count


async def test_a_stage_on_cpu_reads_nothing() -> None:
    readings = Readings()
    assert await DeviceCheck(None, read=readings, clock=readings.clock).fault() is None
    assert readings.times == []

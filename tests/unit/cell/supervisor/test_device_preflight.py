"""Whole supervisors with devices that are not well: nothing starts, the fault is said, and it goes on by itself."""

from dataclasses import replace

import pytest

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.cell.supervisors import BOTH, Leader, Worker

ECC = CellFault(CellReason.DEVICE_UNHEALTHY, "device 1 (GPU-1): 3 uncorrected ECC errors")
LOST = AppView(failed=True, status="DEPLOY_FAILED", error="EngineDeadError: the engine core ended")


@pytest.mark.parametrize("kind", [Leader, Worker])
async def test_nothing_starts_until_the_fault_is_gone(kind: type[Leader] | type[Worker]) -> None:
    stage = kind()
    stage.devices.fault_now = ECC
    state = await stage.looks(4)
    assert (state.phase, state.reason, state.message) == (Phase.STARTING, ECC.reason, ECC.message)
    assert stage.ray.started_with == []
    stage.devices.fault_now = None
    state = await stage.looks(1)
    assert state.reason in (CellReason.RAY_STARTING, CellReason.LEADER_NOT_REACHED)
    assert bool(stage.ray.started_with) == isinstance(stage, Leader)


async def test_a_running_cell_does_not_ask_its_driver() -> None:
    leader = await Leader().serving()
    asked = leader.devices.asked
    await leader.looks(10)
    assert leader.devices.asked == asked


async def test_an_engine_that_ended_over_a_device_says_so_with_both_causes() -> None:
    leader = Leader()
    leader.cluster.nodes_now = dict(BOTH)
    await leader.looks(3)
    leader.cluster.app_now, leader.devices.fault_now = LOST, ECC
    state = await leader.looks(1)
    assert (state.phase, state.reason) == (Phase.LOADING, CellReason.DEVICE_UNHEALTHY)
    assert state.message == f"the engine failed: {LOST.error}; {ECC.message}"
    leader.devices.fault_now = None
    assert (await leader.looks(1)).reason is CellReason.ENGINE_FAILED


@pytest.mark.parametrize(("refused", "reason"), [(True, CellReason.MODEL_REFUSED), (False, CellReason.ENGINE_FAILED)])
async def test_what_is_left_of_a_failed_engine_is_no_fault_of_its_devices(refused: bool, reason: CellReason) -> None:
    leader = Leader()
    leader.cluster.nodes_now = dict(BOTH)
    await leader.looks(3)
    leader.cluster.app_now = replace(LOST, refused=refused)
    leader.devices.fault_now = CellFault(CellReason.DEVICE_BUSY, "device 0: 12 GB of 85 GB are free")
    assert (await leader.looks(1)).reason is reason

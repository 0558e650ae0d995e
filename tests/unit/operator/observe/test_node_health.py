"""What monitors of hardware leave on nodes, and what must not be taken for it."""

from typing import Any

import pytest

from llama_operator.observe.node_health import gpu_fault


def node(*conditions: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """A node that is ready, with further conditions."""
    found = [{"type": kind, "status": status} for kind, status in (("Ready", "True"), *conditions)]
    taints = [{"key": key, "effect": "PreferNoSchedule"} for key in fields.get("taints", ())]
    labels = fields.get("labels")
    return {"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("GpuMemWatch", "True"),
        ("GpuAllWatch", "True"),
        ("GpuXidError", "True"),
        ("SysLogsXIDError", "True"),
        ("SysLogsGPUFallenOff", "True"),
        ("GPUMissing", "True"),
        ("XIDErrors", "True"),
        ("NVLinkStatusInactive", "True"),
        ("UnhealthyNvidiaDevicePlugin", "True"),
        ("GpuUnhealthy", "True"),
        ("GPUProblem", "True"),
        ("AcceleratedHardwareReady", "False"),
        ("GPUHealthy", "False"),
    ],
)
def test_a_condition_that_says_that_a_gpu_is_bad_is_named(kind: str, status: str) -> None:
    assert gpu_fault(node((kind, status))) == f"the condition {kind} {status}"
    assert gpu_fault(node((kind, "False" if status == "True" else "True"))) == ""
    assert gpu_fault(node((kind, "Unknown"))) == ""


@pytest.mark.parametrize(
    "kind", ["MemoryPressure", "GpuDriverInstalled", "GPUAvailable", "NvidiaReady", "KernelDeadlock", "MyGpuUnhealthyX"]
)
def test_a_condition_of_another_meaning_takes_no_node_away(kind: str) -> None:
    assert gpu_fault(node((kind, "True"))) == gpu_fault(node((kind, "False"))) == ""


def test_taints_and_a_driver_upgrade_count_and_what_is_absent_does_not() -> None:
    assert gpu_fault(node(taints=["AggregatedNodeHealth"])) == "the taint AggregatedNodeHealth"
    assert gpu_fault(node(taints=["nvidia.com/gpu"])) == ""
    state = "nvidia.com/gpu-driver-upgrade-state"
    assert gpu_fault(node(labels={state: "pod-restart-required"})) == "the GPU driver upgrade pod-restart-required"
    assert gpu_fault(node(labels={state: "upgrade-done"})) == gpu_fault(node(labels={state: "upgrade-required"})) == ""
    assert gpu_fault({"metadata": {"name": "bare"}}) == ""

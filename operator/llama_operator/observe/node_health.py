"""What others say of a node's GPUs: conditions, taints and labels that monitors of hardware leave on nodes.

===========================  ==============================================================================
who                          what
===========================  ==============================================================================
NVSentinel                   conditions ``Gpu...Watch``, ``GpuXidError``, ``SysLogs...`` that are True; the taint
                             ``AggregatedNodeHealth``, also with the effect PreferNoSchedule
node-problem-detector (AKS)  conditions ``GPUMissing``, ``XIDErrors``, ``NVLinkStatusInactive``,
                             ``UnhealthyNvidiaDevicePlugin``, ``UnhealthyNvidiaDCGMServices`` that are True
node-problem-detector        conditions of custom plug-ins that name a GPU and a fault, such as ``GpuUnhealthy``
EKS node monitoring agent    the condition ``AcceleratedHardwareReady`` that is False
NVIDIA GPU operator          the label of a driver upgrade that is under way or has failed
===========================  ==============================================================================

Only names that are known count: a condition of another meaning must not take a healthy node away.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_TRUE_IS_BAD: Final = re.compile(
    r"Gpu\w*Watch|GpuXidError|SysLogs(XID|SXID)Error|SysLogsGPUFallenOff"
    r"|GPUMissing|XIDErrors|NVLinkStatusInactive|UnhealthyNvidia(DevicePlugin|DCGMServices)"
    r"|(?i:gpus?(unhealthy|problem|fault|failure|failed|lost|error|errors))"
)
_FALSE_IS_BAD: Final = re.compile(r"AcceleratedHardwareReady|(?i:gpus?(healthy|ready))")
_TAINTS: Final = frozenset({"AggregatedNodeHealth", "GPUHealth"})
_UPGRADE: Final = "nvidia.com/gpu-driver-upgrade-state"
_UPGRADING: Final = frozenset(
    {
        "cordon-required",
        "wait-for-jobs-required",
        "pod-deletion-required",
        "drain-required",
        "pod-restart-required",
        "validation-required",
        "uncordon-required",
        "upgrade-failed",
    }
)


def gpu_fault(node: Mapping[str, Any]) -> str:
    """Name what says that the GPUs of a node are bad, in words that follow "with"; empty where nothing does."""
    for condition in (node.get("status") or {}).get("conditions") or ():
        kind, value = condition.get("type", ""), condition.get("status")
        bad = _TRUE_IS_BAD if value == "True" else _FALSE_IS_BAD if value == "False" else None
        if bad and bad.fullmatch(kind):
            return f"the condition {kind} {value}"
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("key") in _TAINTS:
            return f"the taint {taint['key']}"
    state = ((node["metadata"].get("labels")) or {}).get(_UPGRADE, "")
    return f"the GPU driver upgrade {state}" if state in _UPGRADING else ""

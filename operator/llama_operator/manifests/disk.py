"""How much of its node's disk a pod may take: a limit for each emptyDir, and one for each container.

The sizes are far above what the code writes, because the kubelet evicts a pod that goes beyond. They are there for what
nobody expects: a loop that writes, a cache that never ends.

    control      the desired state and the stager's state: files of some MB
    engine /tmp  Ray's logs (16 MB a process), NCCL's logs, kernels compiled by Triton, FlashInfer and PyTorch: some GB
    other /tmp   what a library puts there; weights go to their own volume
    logs         the kubelet rotates them: 50 MiB a container where nobody has set it otherwise

The kubelet compares the sum of the containers' limits with all that the pod takes, its emptyDirs included. So a stage
whose weights lie in an emptyDir without ``staging.sizeLimit`` has no limits of containers: its weights have no bound.
Requests are 0: clusters count disk differently, and a node that reports none would fit no pod.

An engine's /dev/shm lies in memory and counts there.
"""

from collections.abc import Mapping
from typing import Any, Final

from llama_operator.api import StagingSpec
from llama_operator.api.crdgen.quantity import parse_bytes

CONTROL: Final = "64Mi"
ENGINE: Final = "32Gi"
SMALL: Final = "1Gi"
REHEARSAL: Final = "4Gi"
MODEL_CONFIG: Final = "64Mi"
LOGS: Final = "1Gi"

_DISK: Final = "ephemeral-storage"
_MIB: Final = 1 << 20


def scratch(name: str, size: str) -> dict[str, Any]:
    """Return an emptyDir on the node's disk with its limit."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def bounded(resources: Mapping[str, Any], *volumes: str) -> dict[str, Any]:
    """Return resources of a container with a limit of disk: its log and these sizes of emptyDirs."""
    most = sum(parse_bytes(size) for size in (LOGS, *volumes))
    mebibytes = -(-most // _MIB)
    return {
        **resources,
        "requests": {**resources.get("requests", {}), _DISK: "0"},
        "limits": {**resources.get("limits", {}), _DISK: f"{mebibytes}Mi"},
    }


def weights_on_disk(staging: StagingSpec, *, claim: str) -> tuple[str, ...] | None:
    """Return what staged weights may take of the node's disk: nothing on a claim; None where there is no limit."""
    if claim or staging.shared_claim_name or staging.volume_claim_template:
        return ()
    return (staging.size_limit,) if staging.size_limit else None

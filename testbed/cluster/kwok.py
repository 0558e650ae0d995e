"""Made-up nodes: kwok keeps them Ready and pretends to run the pods that are bound to them.

They carry a taint, so that only pods that tolerate it land there, and a label to select them by.
"""

from pathlib import Path
from typing import Any, Final

from testbed.cluster.controlplane import Folders
from testbed.cluster.spec import Spec
from testbed.cluster.units import Unit

ANNOTATION: Final = "kwok.x-k8s.io/node"
TAINT: Final = {"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}
LABELS: Final = {"type": "kwok"}
STAGES: Final = Path(__file__).with_name("kwok_stages.yaml")
_PREFIX: Final = "kwok-"
# A large GPU server; the devices are an extended resource like any other.
RESOURCES: Final = {"cpu": "128", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}


def unit(spec: Spec, folders: Folders) -> Unit:
    """Return kwok's process."""
    argv = (
        folders.program("kwok"),
        f"--kubeconfig={folders.base}/kwok.kubeconfig",
        f"--config={STAGES}",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--cidr={spec.kwok_cidr}",
        f"--node-ip={spec.host_address}",
        f"--server-address=127.0.0.1:{spec.ports.kwok}",
        "--node-lease-duration-seconds=40",
    )
    return Unit(name="kwok", argv=argv, depends=(STAGES.read_text(),))


def names(count: int) -> list[str]:
    """Names of this many nodes."""
    return [f"{_PREFIX}{index}" for index in range(1, count + 1)]


def surplus(present: list[str], *, count: int) -> list[str]:
    """Return the made-up nodes that are there and should not be."""
    wanted = set(names(count))
    return [name for name in present if name.startswith(_PREFIX) and name not in wanted]


def manifest(name: str) -> dict[str, Any]:
    """Return a made-up node."""
    metadata = {"name": name, "annotations": {ANNOTATION: "fake"}, "labels": {**LABELS, "kubernetes.io/hostname": name}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"taints": [TAINT]},
        "status": {"capacity": RESOURCES, "allocatable": RESOURCES},
    }

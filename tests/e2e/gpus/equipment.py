"""GPUs on the bed's nodes: advertised to Kubernetes, of paper to the driver, and computing on the CPU in the engine.

All else of a start on GPUs is real: the extended resource, the RuntimeClass that brings the driver into the pods, the
supervisor's look at it, Ray's GPUs, vLLM's Ray executor and this project's part of it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.cache.folder import REPOSITORY
from testbed.cluster import gpu_runtime
from tests.e2e.support.bed import Bed, Object, manifest
from tests.e2e.support.faults import machine
from tests.paper.nvml import PaperNvml
from tests.serving.fake_gpu import plugin

GPU = "nvidia.com/gpu"
TENSOR = gpu_runtime.DEVICES
#: The runtime that brings the driver, as the GPU operator makes it.
RUNTIME_CLASS: Object = {
    "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"},
    "handler": gpu_runtime.HANDLER,
}  # fmt: skip
#: What a stage needs beside its devices: two ranks that compute on the CPU.
RESOURCES: Object = {"cpu": "200m", "memory": "6Gi", "sharedMemory": "1Gi"}


def on_gpus(name: str, **changes: Any) -> Object:
    """A LlamaDeployment of two stages on two nodes with two GPUs each."""
    spec: Object = {
        "device": {"resource": GPU, "count": TENSOR},
        "sharding": {"pipeline": 2, "tensor": TENSOR},
        "resources": RESOURCES,
        "placement": {"spreadStages": True, "runtimeClassName": "nvidia"},
        "engine": {"enforceEager": True, "kvCacheMemory": "64Mi"},
    }
    return manifest(name, **(spec | changes))


class GpuNodes:
    """The nodes' GPUs; what is wrong with them is said by ``driver``."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._machine = machine()

    @property
    def names(self) -> list[str]:
        """The nodes that have GPUs."""
        return [node.name for node in self._machine.nodes]

    def equip(self, count: int) -> None:
        """Give every node ``count`` GPUs and a healthy driver that shows a container its share of them."""
        self._bed.kubectl.apply(RUNTIME_CLASS)
        for name in self.names:
            _fill(self._machine.gpu_folder(name))
            self._machine.advertise(name, GPU, count)
            self.driver(name).devices(TENSOR)

    def driver(self, node: str) -> PaperNvml:
        """Return the driver of a node's containers."""
        return PaperNvml(self._machine.gpu_folder(node) / gpu_runtime.DRIVER)

    def healthy(self) -> None:
        """End every fault."""
        for name in self.names:
            self.driver(name).devices(TENSOR)

    def withdraw(self) -> None:
        """Take the GPUs back."""
        for name in self.names:
            self._machine.advertise(name, GPU, 0)


@contextmanager
def gpu_nodes(bed: Bed, *, each: int) -> Iterator[GpuNodes]:
    """Equip the nodes with ``each`` GPUs, and take them back at the end."""
    nodes = GpuNodes(bed)
    nodes.equip(each)
    try:
        yield nodes
    finally:
        nodes.withdraw()


def _fill(folder: Path) -> None:
    """Bring the driver and vLLM's plug-in to a node; what is mounted stays the same folder."""
    PaperNvml.build(folder / gpu_runtime.DRIVER)
    python = folder / gpu_runtime.PYTHON
    code = python / "tests" / "serving" / "fake_gpu"
    shutil.copytree(REPOSITORY / "tests" / "serving" / "fake_gpu", code, dirs_exist_ok=True)
    shutil.rmtree(python / "fake_gpu-0.dist-info")
    plugin(python)

"""The container runtime of nodes with GPUs, by the handler that NVIDIA's container toolkit installs: ``nvidia``.

The toolkit puts the node's driver into containers whose pod asks for this runtime. Here it is a folder of the node,
empty unless a test fills it: the nodes have no GPU, and tests bring a driver and devices of paper.
"""

import json
from pathlib import Path
from typing import Any, Final

HANDLER: Final = "nvidia"
#: Where the node's folder is found in a container.
INSIDE: Final = "/opt/gpu"
#: Folder with NVIDIA's management library and the file ``devices`` that says what it shows.
DRIVER: Final = "driver"
#: Folder for what is laid over the serving image's own code, by name: vLLM's plug-in for devices of paper.
PYTHON: Final = "python"
PACKAGES: Final = ("tests", "fake_gpu-0.dist-info")
_CODE: Final = "/opt/app"  # of the serving image
DEVICES: Final = 2  # that a container has
ENVIRONMENT: Final = (
    f"LD_LIBRARY_PATH={INSIDE}/{DRIVER}",
    f"PAPER_NVML={INSIDE}/{DRIVER}/devices",
    f"FAKE_GPU_DEVICES={DEVICES}",
    # The devices compute on the node's few cores, which the ranks share.
    "VLLM_CPU_OMP_THREADS_BIND=nobind",
    "TORCHDYNAMO_DISABLE=1",
    "VLLM_MQ_MAX_CHUNK_BYTES_MB=2",
)


def make_folder(folder: Path) -> None:
    """Make what is mounted; a container does not start without it."""
    for path in (folder / DRIVER, *(folder / PYTHON / name for name in PACKAGES)):
        path.mkdir(parents=True, exist_ok=True)


def specification(default: dict[str, Any], folder: Path) -> str:
    """Return the OCI specification with which the runtime's containers begin; ``default`` is containerd's own."""
    mounts = [_mount(folder, INSIDE), *(_mount(folder / PYTHON / name, f"{_CODE}/{name}") for name in PACKAGES)]
    process = default["process"]
    process = process | {"env": [*process.get("env", []), *ENVIRONMENT]}
    return json.dumps(default | {"mounts": [*default["mounts"], *mounts], "process": process}, indent=1)


def containerd_config(specification: Path) -> str:
    """Return the part of containerd's configuration that names the runtime."""
    return f"""  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{HANDLER}]
    runtime_type = "io.containerd.runc.v2"
    base_runtime_spec = "{specification}"
"""


def _mount(source: Path, destination: str) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "destination": destination, "options": ["rbind", "ro"]}

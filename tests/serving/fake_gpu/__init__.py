"""A fake GPU for tests: a GPU to Ray, to vLLM's Ray executor and to a supervisor, that computes on the CPU.

vLLM finds it as a platform plug-in, by an entry point that ``plugin`` writes.
"""

from pathlib import Path
from typing import Final

DEVICES_VARIABLE: Final = "FAKE_GPU_DEVICES"  # how many a pod has


def plugin(folder: Path) -> Path:
    """Write what an installed distribution would have; the folder belongs into PYTHONPATH, beside this project's."""
    about = folder / "fake_gpu-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-gpu\nVersion: 0\n", encoding="ascii")
    entry = "[vllm.platform_plugins]\nfake_gpu = tests.serving.fake_gpu:platform\n"
    (about / "entry_points.txt").write_text(entry, encoding="ascii")
    return folder


def platform() -> str:
    """Return vLLM's platform; vLLM calls this in every process."""
    return "tests.serving.fake_gpu.platform.FakeGpuPlatform"


def wait_without_spinning() -> None:
    """Let the ranks of this process wait for messages asleep from the first moment on.

    vLLM spins for a second behind each message, which a core for each rank pays for. Here eight ranks share two cores,
    and those of a group that serves would leave a starting one a third of them.
    """
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    SpinCondition.__init__.__defaults__ = (0.0,)

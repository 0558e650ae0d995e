"""Builds our images with buildah, and says by a digest of everything that goes in when there is nothing to build.

Each image has two tags: `dev`, which moves, and the digest of its inputs, which tells whether it is up to date.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed import progress
from testbed.cache import packages
from testbed.cache.folder import REPOSITORY, cache, lock
from testbed.errors import BedError
from testbed.images import bases, storage
from testbed.images.bases import PYTHON, SYSTEM, Base
from testbed.images.storage import Image

OPERATOR: Final = "localhost/llama-operator"
SERVING: Final = "localhost/llama-serving"
TAG: Final = "dev"
# What the Dockerfiles copy out of the repository.
_COMMON: Final = ("pyproject.toml", "uv.lock", ".dockerignore")
_CODE: Final = "serving/llama_serving"
INPUTS: Final = {
    OPERATOR: (
        *_COMMON,
        "operator/Dockerfile",
        "operator/image",
        "operator/llama_operator",
        "serving/bill_of_materials.py",
        *(f"{_CODE}/{part}" for part in ("__init__.py", "common", "config", "gateway", "weights")),
    ),
    SERVING: (
        *_COMMON,
        "serving/Dockerfile",
        "serving/bill_of_materials.py",
        "serving/cuda_stubs.py",
        "serving/image",
        _CODE,
    ),
}
# Buildah leaves mounts behind: its folder on itself, and one for each RUN that mounts another stage. In a mount
# namespace of its own they end with it, and the bed can make hard links out of the store.
_ENTER: Final = ("unshare", "--mount", "--propagation", "private", "--")


@dataclass(frozen=True)
class Store:
    """Buildah's store of the bed: a folder of its own, the user's images are left alone."""

    root: Path

    @property
    def scratch(self) -> Path:
        """Where buildah keeps temporary files and the caches of RUN."""
        return self.root / "scratch"

    def buildah(self, *arguments: str) -> str:
        """Run buildah on this store and return its output.

        Raises:
            BedError: it failed; the message holds the end of what it said.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        argv = ["buildah", f"--root={self.root}", f"--runroot={self.root}/run", "--storage-driver=overlay", *arguments]
        env = {**os.environ, "TMPDIR": str(self.scratch)}
        done = subprocess.run([*_ENTER, *argv], capture_output=True, text=True, env=env)
        if done.returncode:
            raise BedError(f"`{' '.join(argv)}` failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def share_uv_cache(self) -> None:
        """Let RUN's cache of uv be the user's: what the development environment fetched is not fetched again."""
        link = self.scratch / "buildah-cache" / "llama-uv"
        if link.exists():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        argv = [bases.uv_command(), "cache", "dir"]
        target = Path(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
        target.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def has(self, name: str) -> bool:
        """Tell whether there is an image with this name."""
        return name in storage.names(self.root)

    def build(self, context: Path, *, tags: Iterable[str], file: str, arguments: Mapping[str, str]) -> None:
        """Build an image; layers whose input is unchanged are taken from the store."""
        argv = ["bud", "--layers", "--isolation=chroot", f"--file={context / file}"]
        argv += [f"--tag={tag}" for tag in tags]
        argv += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        authorities = bases.certificates(os.environ)
        if authorities:
            argv.append(f"--secret=id=ca,src={authorities}")
        self.buildah(*argv, str(context))


def store() -> Store:
    """Return the bed's store."""
    return Store(root=cache() / "containers")


def inputs_digest(repository: Path, inputs: Iterable[str], *, parameters: Mapping[str, str]) -> str:
    """Return a digest of files and folders of the repository (byte code left out) and of what else goes in."""
    digest = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for top in inputs:
        path = repository / top
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(repository)}\0{file.stat().st_mode & 0o777:o}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def ensure() -> dict[str, Image]:
    """Build what is not up to date; returns our images by name without tag.

    Raises:
        BedError: something to install, or a build failed.
    """
    packages.ensure(packages.IMAGES)
    images = store()
    with lock(images.root.with_suffix(".lock")):
        return _ensure(images)


def _ensure(images: Store) -> dict[str, Image]:
    uv = bases.uv_program()
    uv_image = bases.uv_image(uv.read_bytes())
    arguments = {
        OPERATOR: {"BUILD": SYSTEM.image, "BASE": PYTHON.image, "UV": uv_image},
        SERVING: {"BASE": SYSTEM.image, "UV": uv_image},
    }
    wanted = {
        name: f"{name}:{inputs_digest(REPOSITORY, INPUTS[name], parameters=arguments[name])}" for name in arguments
    }
    stale = [name for name, tagged in wanted.items() if not images.has(tagged)]
    if stale:
        _ensure_bases(images, uv, uv_image)
        images.share_uv_cache()
        with progress.step(f"building {' and '.join(stale)}"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: _build(images, name, tagged=wanted[name], arguments=arguments[name]), stale))
        current = {*wanted.values(), SYSTEM.image, PYTHON.image, uv_image}
        for tagged in outdated(storage.names(images.root), current=current):
            images.buildah("rmi", "--force", tagged)
    return {name: _current(images, name, tagged) for name, tagged in wanted.items()}


def outdated(names: Iterable[str], *, current: set[str]) -> list[str]:
    """Return the names of former states of our images: same repository, another digest. Layers in use stay."""
    repositories = {name.rpartition(":")[0] for name in current}
    kept = {f"{repository}:{TAG}" for repository in repositories} | current
    return sorted(name for name in names if name.rpartition(":")[0] in repositories and name not in kept)


def _build(images: Store, name: str, *, tagged: str, arguments: Mapping[str, str]) -> None:
    folder = "operator" if name == OPERATOR else "serving"
    images.build(REPOSITORY, tags=(f"{name}:{TAG}", tagged), file=f"{folder}/Dockerfile", arguments=arguments)


def _current(images: Store, name: str, tagged: str) -> Image:
    """Return the image with these inputs, after moving the tag to it: inputs may have gone back to a former state."""
    image = storage.read(images.root, tagged)
    if f"{name}:{TAG}" not in image.names:
        images.buildah("tag", tagged, f"{name}:{TAG}")
        image = storage.read(images.root, tagged)
    return image


def _ensure_bases(images: Store, uv: Path, uv_image: str) -> None:
    for base in (SYSTEM, PYTHON):
        if not images.has(base.image):
            with progress.step(f"making {base.image} from Debian's packages"):
                build_base(images, base)
    if not images.has(uv_image):
        build_uv(images, uv, uv_image)


def build_uv(images: Store, uv: Path, name: str) -> None:
    """Build the image that holds the program uv."""
    with tempfile.TemporaryDirectory(dir=images.root) as folder:
        bases.uv_context(uv, Path(folder))
        images.build(Path(folder), tags=[name], file="Dockerfile", arguments={})


def build_base(images: Store, base: Base) -> None:
    """Build a base from Debian's packages."""
    images.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=images.root) as folder:
        # mmdebstrap reads local files as another user.
        Path(folder).chmod(0o755)
        bases.context(base, Path(folder))
        images.build(Path(folder), tags=[base.image], file="Dockerfile", arguments={})

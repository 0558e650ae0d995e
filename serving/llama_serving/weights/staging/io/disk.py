"""The volume of the weights: the only code that changes anything on it.

Files get mode 0644 and folders 0755, because the engine runs in another container. Every method may raise OSError.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from llama_serving.common.message_file import replace_file
from llama_serving.weights.staging.decide.eviction import VolumeSpace

_FILE: Final = 0o644
_FOLDER: Final = 0o755


class Disk(Protocol):
    """Operations of the stager on a volume."""

    def space(self, path: Path) -> VolumeSpace:
        """Return the space of the volume that ``path`` is on."""

    def make_folder(self, path: Path) -> None:
        """Make the folder and its parents where they are missing."""

    def create(self, path: Path, *, start: bytes, size: int) -> None:
        """Make the file anew: ``start``, then nothing up to ``size``."""

    def open(self, path: Path) -> int:
        """Return a descriptor for ``write``; the caller closes it."""

    def write(self, file: int, data: bytes | memoryview, *, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""

    def append(self, path: Path, line: bytes) -> None:
        """Append to the file in one piece; make it where it is missing."""

    def put(self, path: Path, data: bytes) -> None:
        """Write a small file; a reader sees the old one or the new one, never a part."""

    def claim(self, path: Path, data: bytes) -> bool:
        """Make the file unless it is there; return whether it was made."""

    def touch(self, path: Path) -> float:
        """Make the file where it is missing and set its time to now; return that time by the volume's clock."""

    def refresh(self, path: Path) -> None:
        """Set the time of a file to now; OSError when it is not there."""

    def sync(self, path: Path) -> None:
        """Return when the file or folder is on the disk."""

    def move(self, path: Path, target: Path) -> None:
        """Rename at once; OSError when ``target`` is a folder that holds something."""

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none."""


class LocalDisk:
    """A mounted volume; ``limit`` is how many bytes of it may be used where the volume itself does not say."""

    def __init__(self, *, limit: int = 0) -> None:
        self._limit = limit

    def space(self, path: Path) -> VolumeSpace:
        """Return the space for users other than root, within ``limit``: an emptyDir looks as large as its disk."""
        status = os.statvfs(path)
        free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
        if not self._limit:
            return VolumeSpace(free=free, total=total)
        return VolumeSpace(free=min(free, max(0, self._limit - bytes_in(path))), total=min(total, self._limit))

    def make_folder(self, path: Path) -> None:
        """Make the folder, each part with mode 0755."""
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir(exist_ok=True)
            path.chmod(_FOLDER)

    def create(self, path: Path, *, start: bytes, size: int) -> None:
        """Make a sparse file: bytes that are not written take no space yet."""
        with path.open("wb") as file:
            os.fchmod(file.fileno(), _FILE)
            file.write(start)
            file.truncate(size)

    def open(self, path: Path) -> int:
        """Open for writing in place."""
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, file: int, data: bytes | memoryview, *, offset: int) -> None:
        """Write in a loop: a volume may take less than it is given at a time."""
        left = memoryview(data)
        while left:
            written = os.pwrite(file, left, offset)
            left, offset = left[written:], offset + written

    def append(self, path: Path, line: bytes) -> None:
        """Append without a sync: readers verify what the file says."""
        with path.open("ab", buffering=0) as file:
            file.write(line)

    def put(self, path: Path, data: bytes) -> None:
        """Write a file beside it and rename that."""
        replace_file(path, data)

    def claim(self, path: Path, data: bytes) -> bool:
        """Make the file with O_EXCL, which shared file systems keep too."""
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def touch(self, path: Path) -> float:
        """Touch the file; the server of a shared volume sets the time itself."""
        path.touch()
        return written_at(path)

    def refresh(self, path: Path) -> None:
        """Set the time without making the file."""
        os.utime(path)

    def sync(self, path: Path) -> None:
        """Sync data and names."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def move(self, path: Path, target: Path) -> None:
        """Rename, which is atomic on one volume."""
        path.rename(target)

    def remove(self, path: Path) -> None:
        """Remove what is there; another pod may be removing the same."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def written_at(path: Path) -> float:
    """Return when the file was last written, by the volume's clock. It is opened first, so that NFS asks its server."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def bytes_in(folder: Path) -> int:
    """Sum the bytes that the files below ``folder`` take on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total

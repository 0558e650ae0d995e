"""Opens files in folders that somebody else fills: regular files only, and none that a link outside leads to.

What was opened is checked, not its name, so nothing can be exchanged between the check and the reading. A pipe without
a writer is not waited for.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotRegularError(OSError):
    """A device, a pipe or a folder stands in place of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


class OutsideError(OSError):
    """A link leads out of the folder. ``target`` is where."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(errno.EXDEV, "outside of the folder", str(path))
        self.target = target


def open_regular(path: Path, *, within: Sequence[Path], follow: bool = True) -> BinaryIO:
    """Open a file for reading.

    Args:
        path: of the file.
        within: real paths of folders; the file must lie in one of them, whatever links led to it. Empty: anywhere.
        follow: whether the last part of ``path`` may be a link.

    Raises:
        NotRegularError, OutsideError: it is none, or lies elsewhere.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(path)
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        if within and not any(real.is_relative_to(folder) for folder in within):
            raise OutsideError(path, real)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def real_path(path: Path) -> Path:
    """Return the path without links; links in a circle stay, where ``Path.resolve`` would raise RuntimeError."""
    return Path(os.path.realpath(path))


def folders_of_model(folder: Path) -> tuple[Path, ...]:
    """Return where files of a model's folder may lie: in it, and among the blobs of a Hugging Face cache around it."""
    real = real_path(folder)
    return (real, real.parent.parent / "blobs") if real.parent.name == "snapshots" else (real,)

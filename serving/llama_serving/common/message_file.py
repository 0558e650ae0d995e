"""A message file between two processes of a pod: the writer replaces the whole file, the reader keeps the last message.

The supervisor and the stager of a pod talk through two such files, and a supervisor leaves its own notes in others. A
write is a rename, so a reader sees the old message or the new one, never a part of one. Nothing is synced to the disk:
the files outlive a container, and go with the pod's volume when the node is lost.

The other process may be taken over: a model is foreign. So a message is a regular file of bounded size, no link and no
pipe, what is written follows no link either, and of a message that is none nothing is quoted.
"""

import errno
import logging
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from llama_serving.common.regular_file import open_regular
from llama_serving.config.error_text import rule_text

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_MODE: Final = 0o644  # the reader may run as another user
#: Bytes of a message; the manifests of many adapters have some MB.
LARGEST_MESSAGE: Final = 64 << 20


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and rename it to ``path``, mode 0644. Raises OSError and leaves the old file."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), _MODE)
    beside.replace(path)


def read_bounded(path: Path, *, limit: int = LARGEST_MESSAGE, follow: bool = False) -> bytes:
    """Return the bytes of a regular file; no link unless ``follow``. Raises OSError, also for more than ``limit``."""
    with open_regular(path, within=(), follow=follow) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def write_message(path: Path, text: str) -> None:
    """Replace the message in ``path``, whose folder must exist. Raises OSError; the old message then still stands."""
    replace_file(path, text.encode("utf-8"))


def read_message(path: Path) -> str | None:
    """Return the message in ``path``; None where there is no file, or none that can be read (which is logged)."""
    try:
        return read_bounded(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("Cannot read %s: %s", path, error)
        return None


class MessageReader(Generic[M]):
    """The last valid message of one kind in a file; where the file is gone or is no message, the one before stands.

    ``follow``: the file may be a link, as the kubelet mounts a ConfigMap; nobody in the pod can write it.
    """

    def __init__(self, path: Path, kind: type[M], *, follow: bool = False) -> None:
        self._path = path
        self._kind = kind
        self._follow = follow
        self._version: Hashable = None
        self._last: M | None = None
        self._complaint = ""

    @property
    def version(self) -> Hashable:
        """Time, size and inode of the file that the last message was read from; None before there was one."""
        return self._version

    def read(self) -> M | None:
        """Return the last message, read anew when the file was replaced; None while there never was one. Blocks."""
        try:
            status = self._path.stat(follow_symlinks=self._follow)
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version != self._version:
                self._last = self._kind.model_validate_json(read_bounded(self._path, follow=self._follow))
                self._version = version
                self._complaint = ""
        except FileNotFoundError:
            pass
        except ValidationError as error:
            self._complain(rule_text(error.errors(include_input=False)[0]))
        except OSError as error:
            self._complain(str(error))
        return self._last

    def _complain(self, complaint: str) -> None:
        """Log what is wrong with the file, once."""
        if complaint != self._complaint:
            logger.error("Cannot read %s: %s", self._path, complaint)
            self._complaint = complaint

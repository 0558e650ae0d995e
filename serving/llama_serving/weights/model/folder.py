"""A model's folder, on a disk or fetched from a source. Faults that a user can repair are refusals with a message.

Only what lies directly in the folder counts, as for the engine. Links are followed, since the Hugging Face cache is
made of them; a link to nothing, a folder or a device in place of a file is named.
"""

import json
import os
import stat
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from llama_serving.weights.model.errors import RefusedError, missing, refused, shown, shown_list, unreadable

CONFIG: Final = "config.json"

# tokenizer.json of Llama 3 has 17 MB; nothing that is JSON needs more than this.
_JSON_LIMIT: Final = 64 << 20
_LFS_POINTER: Final = b"version https://git-lfs"


class Folder(ABC):
    """The names of a folder's files, and the content of those that are read."""

    names: frozenset[str]
    #: The engine reads this very folder; else it gets only the files that are chosen.
    read_in_place: ClassVar[bool] = False

    @property
    @abstractmethod
    def location(self) -> str:
        """Path or URI of the folder, for messages."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for reading. Raises RefusedError when it is absent, no file, not readable or a pointer."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the bytes of a file that ``open`` gave."""

    def ending(self, *suffixes: str) -> list[str]:
        """Return the names with one of these endings, sorted."""
        return sorted(name for name in self.names if name.endswith(suffixes))

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file. Raises RefusedError as ``open`` does, and when it is no JSON object."""
        with self.open(name) as file:
            text = file.read(_JSON_LIMIT + 1)
        if len(text) > _JSON_LIMIT:
            raise refused(f"{shown(name)} is larger than {_JSON_LIMIT >> 20} MiB, which no such file is")
        return json_object(text, name)


@dataclass(frozen=True)
class ModelFolder(Folder):
    """A folder on a disk, as this process may read it."""

    path: Path
    names: frozenset[str]
    read_in_place: ClassVar[bool] = True

    @property
    def location(self) -> str:
        """Path of the folder."""
        return str(self.path)

    def open(self, name: str) -> BinaryIO:
        """Open a file, as ``Folder.open`` says."""
        path = self.path / name
        _check_is_file(path)
        try:
            file = path.open("rb")
        except PermissionError as error:
            raise _forbidden(path, to="read", remedy="chmod a+r") from error
        try:
            refuse_pointer(name, file.peek(len(_LFS_POINTER)))
        except RefusedError:
            file.close()
            raise
        return file

    def size(self, name: str) -> int:
        """Return the bytes of the file."""
        return (self.path / name).stat().st_size


def refuse_pointer(name: str, start: bytes) -> None:
    """Refuse a pointer of Git LFS: Git leaves it where LFS did not download the file."""
    if start.startswith(_LFS_POINTER):
        raise unreadable(f"{shown(name)} is a pointer of Git LFS, not the file itself: run git lfs pull")


def json_object(text: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object that ``text`` is. Raises RefusedError, naming ``name``, when it is none.

    It must be in UTF-8 without a byte order mark, as the engine reads it.
    """
    if text.startswith(BOM_UTF8):
        raise unreadable(f"{shown(name)} begins with a byte order mark, which JSON may not have: save it without one")
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise unreadable(f"{shown(name)} is no JSON: {shown(error)}; copy it again") from error
    if not isinstance(value, dict):
        raise unreadable(f"{shown(name)} holds no JSON object; copy it again")
    return value


def open_folder(path: Path) -> ModelFolder:
    """List the folder. Raises RefusedError when it is not there, no folder, empty or not readable."""
    try:
        names = frozenset(entry.name for entry in path.iterdir())
    except FileNotFoundError as error:
        raise missing(f"there is no folder {shown(path)}{_beside(path)}: check the path in model.source") from error
    except NotADirectoryError as error:
        raise missing(f"{shown(path)} is a file: model.source must name the folder of the model") from error
    except PermissionError as error:
        raise _forbidden(path, to="list", remedy="chmod a+rx") from error
    if not names:
        raise missing(f"{shown(path)} is empty: copy the model's files into it")
    return ModelFolder(path, names)


def _check_is_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            target = shown(path.readlink())
            raise missing(
                f"{shown(path.name)} is a link to {target}, which is not there: copy the files, not the links (cp -L)"
            ) from error
        raise missing(f"{shown(path.name)} is not in {shown(path.parent)}: copy the whole model") from error
    except PermissionError as error:
        raise _forbidden(path, to="read", remedy="chmod a+r") from error
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        raise unreadable(f"{shown(path.name)} is a {kind}, not a file: copy the model again")


def _forbidden(path: Path, *, to: str, remedy: str) -> RefusedError:
    """Return the refusal of the first part of ``path`` that this process may not use: mode, owner and our uid."""
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK):
            path, to, remedy = folder, "enter", "chmod a+rx"
            break
    return unreadable(
        f"uid {os.geteuid()} may not {to} {shown(path)} ({_owner(path)}): "
        f"run {remedy} on it, and check the model's other files"
    )


def _owner(path: Path) -> str:
    status = path.stat()
    return f"mode {stat.S_IMODE(status.st_mode):04o}, owner uid {status.st_uid} gid {status.st_gid}"


def _beside(path: Path) -> str:
    """Return what the nearest existing folder holds; empty when it cannot be read."""
    try:
        folder = next(parent for parent in path.parents if parent.is_dir())
        return f" ({shown(folder)} holds {shown_list(sorted(entry.name for entry in folder.iterdir())) or 'nothing'})"
    except OSError:
        return ""

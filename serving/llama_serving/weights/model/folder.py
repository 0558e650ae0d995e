"""A model's folder, on a disk or fetched from a source. Faults that a user can repair are refusals with a message.

Only what lies directly in the folder counts, as for the engine. Links are followed inside the folder, and to the blobs
of a Hugging Face cache, which is made of them; a link elsewhere or to nothing, a folder or a device in place of a file
is named.
"""

import os
import stat
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from llama_serving.common.file_names import is_plain_name
from llama_serving.common.foreign_json import SMALL, JsonLimitError, JsonLimits, parse_foreign_json
from llama_serving.common.regular_file import NotRegularError, OutsideError, folders_of_model, open_regular
from llama_serving.config.error_text import error_text
from llama_serving.weights.model.errors import RefusedError, missing, refused, shown, shown_list, unreadable
from llama_serving.weights.model.limits import MOST_NAMES

CONFIG: Final = "config.json"

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
            text = file.read(SMALL.bytes + 1)
        if len(text) > SMALL.bytes:
            raise refused(f"{shown(name)} is larger than {SMALL.bytes >> 20} MiB, which no such file is")
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
            file = open_regular(path, within=folders_of_model(self.path))
        except PermissionError as error:
            raise _forbidden(path, to="read", remedy="chmod a+r") from error
        except NotRegularError as error:
            raise _not_a_file(path, "device or pipe") from error
        except OutsideError as error:
            raise refused(
                f"{shown(name)} is a link to {shown(error.target)}, outside of the folder: copy the files, not the "
                "links (cp -L)"
            ) from error
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            refuse_pointer(name, file.read(len(_LFS_POINTER)))
            file.seek(0)
        except BaseException:
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


def json_object(text: bytes, name: str, *, limits: JsonLimits = SMALL) -> dict[str, Any]:
    """Return the JSON object that ``text`` is. Raises RefusedError, naming ``name``, when it is none.

    It must be in UTF-8 without a byte order mark, as the engine reads it.
    """
    if text.startswith(BOM_UTF8):
        raise unreadable(f"{shown(name)} begins with a byte order mark, which JSON may not have: save it without one")
    try:
        value = parse_foreign_json(text, limits=limits)
    except JsonLimitError as error:
        raise unreadable(f"{shown(name)} is no JSON that is read: {error}; copy it again") from error
    except ValueError as error:
        raise unreadable(f"{shown(name)} is no JSON: {shown(error)}; copy it again") from error
    if not isinstance(value, dict):
        raise unreadable(f"{shown(name)} holds no JSON object; copy it again")
    return value


def open_folder(path: Path) -> ModelFolder:
    """List the folder. Raises RefusedError when it is not there, no folder, empty or not readable."""
    try:
        names = frozenset(entry.name for entry in islice(path.iterdir(), MOST_NAMES + 1))
    except FileNotFoundError as error:
        raise missing(f"there is no folder {shown(path)}{_beside(path)}: check the path in model.source") from error
    except NotADirectoryError as error:
        raise missing(f"{shown(path)} is a file: model.source must name the folder of the model") from error
    except PermissionError as error:
        raise _forbidden(path, to="list", remedy="chmod a+rx") from error
    except OSError as error:
        raise _unusable(path, error) from error
    if not names:
        raise missing(f"{shown(path)} is empty: copy the model's files into it")
    check_file_names(names, location=str(path))
    return ModelFolder(path, names)


def check_file_names(names: Collection[str], *, location: str) -> None:
    """Refuse a folder of too many names, or with one that is not one line of text."""
    if len(names) > MOST_NAMES:
        raise refused(f"{shown(location)} holds more than {MOST_NAMES} files, which no model has: name its own folder")
    strange = sorted(name for name in names if not is_plain_name(name))
    if strange:
        raise refused(
            f"{shown(location)} holds {shown_list(strange)}, a name with control characters or more than 255 bytes: "
            "rename the file, or take it out"
        )


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
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISREG(mode):
        raise _not_a_file(path, "folder" if stat.S_ISDIR(mode) else "device or pipe")


def _unusable(path: Path, error: OSError) -> RefusedError:
    """Return the refusal of what no mode mends: links in a circle, a folder that cannot be entered, a bad disk."""
    return unreadable(f"{shown(path.name)} cannot be read ({error_text(error)}): copy the model again")


def _not_a_file(path: Path, kind: str) -> RefusedError:
    return unreadable(f"{shown(path.name)} is a {kind}, not a file: copy the model again")


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

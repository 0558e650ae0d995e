"""Can this stage read the files that its engine will load? Asked before anything starts, on every stage.

The answer names the file, its owner and mode, this process's user, and what to do.
"""

import os
import stat
from pathlib import Path
from typing import Final

from llama_serving.cell.machine import Fault
from llama_serving.config.state import CellReason

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "*.safetensors"


class WeightsCheck:
    """Looks at one folder each time it is asked, so that a ``chmod`` heals without a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fault(self) -> Fault | None:
        """What keeps the engine from its weights; None where nothing does."""
        try:
            if not self._folder.is_dir():
                return Fault(CellReason.WEIGHTS_MISSING, f"There is no folder {self._folder} in this pod.")
            files = sorted(path for path in self._folder.iterdir() if not path.is_dir())
        except PermissionError:
            return _unreadable(self._folder)
        return self._missing(files) or next((_unreadable(path) for path in files if not _can_read(path)), None)

    def _missing(self, files: list[Path]) -> Fault | None:
        if not any(path.name == _CONFIG for path in files):
            return Fault(CellReason.WEIGHTS_MISSING, f"{self._folder} has no {_CONFIG}.")
        if not any(path.match(_WEIGHTS) for path in files):
            return Fault(CellReason.WEIGHTS_MISSING, f"{self._folder} has no {_WEIGHTS} file.")
        return None


def _can_read(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def _unreadable(path: Path) -> Fault:
    me = f"uid {os.getuid()}, gid {os.getgid()}"
    try:
        status = path.stat()
    except OSError as error:
        sentence = f"{path} cannot be read by {me}: {error.strerror}. Make its folder readable: chmod a+rx."
    else:
        owner = f"owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
        wanted = "a+rx" if path.is_dir() else "a+r"
        sentence = f"{path} ({owner}) cannot be read by {me}. Make it readable: chmod {wanted}."
    return Fault(CellReason.WEIGHTS_UNREADABLE, sentence)

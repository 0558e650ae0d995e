"""The folders of weights on the volume: which are old, and how an old one goes.

A folder that goes is renamed first, so that nobody sees half of it; what a kill left behind goes at the next look.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from llama_serving.weights.staging.decide.eviction import Old
from llama_serving.weights.staging.io.disk import Disk, bytes_in
from llama_serving.weights.staging.io.lease import unmark, used_by_others

_WEIGHTS: Final = re.compile(r"^[0-9a-f]{16}$")
_GONE: Final = re.compile(r"^[0-9a-f]{16}\.gone-")


class Shelf:
    """What lies on a volume that ``mount`` is the root of."""

    def __init__(self, mount: Path, *, holder: str, disk: Disk) -> None:
        self._mount = mount
        self._holder = holder
        self._disk = disk

    def old(self, wanted: Collection[str]) -> tuple[Old, ...]:
        """Weights that neither we (folder names in ``wanted``) nor another pod may load."""
        folders = [path for path in self._folders() if path.name not in wanted]
        if not folders:
            return ()
        now = self._now()
        return tuple(
            Old(path.name, bytes_in(path), path.stat().st_mtime)
            for path in folders
            if not used_by_others(path, holder=self._holder, now=now)
        )

    def kept(self, wanted: Collection[str]) -> int:
        """How many of the wanted ones lie here, in whole or in part."""
        return sum(path.name in wanted for path in self._folders())

    def remove(self, name: str) -> None:
        """Take some weights away."""
        gone = self._mount / f"{name}.gone-{self._holder}"
        self._disk.remove(gone)
        self._disk.move(self._mount / name, gone)
        self._disk.remove(gone)

    def tidy(self, wanted: Collection[str]) -> None:
        """Finish removals that were cut off, and let go of what we do not want any more."""
        for path in list(self._mount.iterdir()):
            if _GONE.match(path.name):
                self._disk.remove(path)
        for path in self._folders():
            if path.name not in wanted:
                unmark(path, holder=self._holder, disk=self._disk)

    def _now(self) -> float:
        return self._disk.touch(self._mount / ".clock")

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._mount.iterdir() if _WEIGHTS.match(path.name) and path.is_dir())

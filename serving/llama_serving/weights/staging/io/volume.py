"""The folders of weights on the volume: which are old, and how an old one is removed.

A folder is renamed before it is removed, so that nobody sees half of it; the next clean-up removes what a kill left.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from llama_serving.weights.staging.decide.eviction import EvictionCandidate
from llama_serving.weights.staging.io.disk import Disk, bytes_in
from llama_serving.weights.staging.io.lease import unmark_used, used_by_others

_WEIGHTS: Final = re.compile(r"^[0-9a-f]{16}$")
_GONE: Final = re.compile(r"^[0-9a-f]{16}\.gone-")


class WeightsVolume:
    """The folders of weights on the volume that is mounted at ``mount``."""

    def __init__(self, mount: Path, *, holder: str, disk: Disk) -> None:
        self._mount = mount
        self._holder = holder
        self._disk = disk

    def eviction_candidates(self, wanted: Collection[str]) -> tuple[EvictionCandidate, ...]:
        """Return weights that neither this pod (folder names in ``wanted``) nor another one may load."""
        folders = [path for path in self._folders() if path.name not in wanted]
        if not folders:
            return ()
        now = self._now()
        return tuple(
            EvictionCandidate(path.name, bytes_in(path), path.stat().st_mtime)
            for path in folders
            if not used_by_others(path, holder=self._holder, now=now)
        )

    def count_wanted(self, wanted: Collection[str]) -> int:
        """Count the wanted folders that lie here, in whole or in part."""
        return sum(path.name in wanted for path in self._folders())

    def remove(self, name: str) -> None:
        """Remove the weights in the folder ``name``."""
        gone = self._mount / f"{name}.gone-{self._holder}"
        self._disk.remove(gone)
        self._disk.move(self._mount / name, gone)
        self._disk.remove(gone)

    def clean_up(self, wanted: Collection[str]) -> None:
        """Finish interrupted removals, and remove our use marks from folders that are not wanted any more."""
        for path in list(self._mount.iterdir()):
            if _GONE.match(path.name):
                self._disk.remove(path)
        for path in self._folders():
            if path.name not in wanted:
                unmark_used(path, holder=self._holder, disk=self._disk)

    def _now(self) -> float:
        return self._disk.touch(self._mount / ".clock")

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._mount.iterdir() if _WEIGHTS.match(path.name) and path.is_dir())

"""The lease on a shared folder, so that one pod at a time stages into it; and the marks of the pods that use it.

A lock file names its holder, who touches it every ``HEARTBEAT`` seconds. One that was not touched for ``STALE`` seconds
is taken over: written anew, and trusted only when it still names the taker ``SETTLE`` seconds later, since two may take
it at once. Times are compared by the volume's own clock (that of a file touched just now), never by a node's. Should
an old holder wake up after all, it stops at its next renewal; until then both write the same bytes to the same places,
since the layout of a folder follows from its digest.

A mark per pod and weights says that the pod may load them; a mark not touched for ``UNUSED`` seconds is ignored.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from llama_serving.config.wording import rough_seconds
from llama_serving.weights.staging.io.disk import Disk, written_at

HEARTBEAT: Final = 10.0
STALE: Final = 60.0
SETTLE: Final = 2.0
UNUSED: Final = 600.0
_MARK: Final = "used-by-"


class Lease:
    """The lock of one folder; ``holder`` is the pod's name: a container that restarts holds what it held."""

    def __init__(self, target: Path, *, holder: str, disk: Disk) -> None:
        self._path = target.with_name(f"{target.name}.lock")
        self._holder = holder
        self._disk = disk

    def acquire(self) -> str:
        """Take the lease; return an empty text, or a clause that says why this pod may not stage yet."""
        if self._disk.claim(self._path, self._holder.encode()):
            return ""
        held_by = self._read()
        now = mark_used(self._path.parent, holder=self._holder, disk=self._disk)
        if held_by == self._holder:
            self._disk.refresh(self._path)
            return ""
        silent = now - self._touched(default=now)
        if silent > STALE:
            self._disk.put(self._path, self._holder.encode())
            return f"taking over from pod {held_by}, which has not renewed its lease for {rough_seconds(silent)}"
        renewed = rough_seconds(max(silent, 0))
        return f"pod {held_by} stages these weights into the shared folder; last renewal {renewed} ago"

    def is_ours(self) -> bool:
        """Return whether this pod holds the lease."""
        return self._read() == self._holder

    def renew(self) -> bool:
        """Show that this pod is alive; return False when another one took over."""
        if not self.is_ours():
            return False
        self._disk.refresh(self._path)
        return True

    def release(self) -> None:
        """Release the lease if this pod holds it."""
        if self.is_ours():
            self._disk.remove(self._path)

    def _read(self) -> str:
        with suppress(OSError):
            return self._path.read_text(errors="replace")
        return ""

    def _touched(self, *, default: float) -> float:
        with suppress(OSError):
            return written_at(self._path)
        return default


def mark_used(folder: Path, *, holder: str, disk: Disk) -> float:
    """Mark that this pod uses the weights in ``folder``; return the time by the volume's clock."""
    return disk.touch(folder / f"{_MARK}{holder}")


def unmark_used(folder: Path, *, holder: str, disk: Disk) -> None:
    """Remove the mark of this pod."""
    disk.remove(folder / f"{_MARK}{holder}")


def used_by_others(folder: Path, *, holder: str, now: float) -> bool:
    """Return whether another pod may load the weights in ``folder``; ``now`` by the volume's clock."""
    for path in folder.glob(f"{_MARK}*"):
        with suppress(OSError):
            if path.name != f"{_MARK}{holder}" and now - written_at(path) < UNUSED:
                return True
    return False

"""For how long a process was watched without a sign of work.

Signs of work are: its counters move; one of its threads computed, or waited for a core, for a good part of the time
between two looks; one is runnable in both (the kernel counts a wait when it is over); a thread waits for a disk. So a
process that is merely slow, however starved, is never quiet. Time between two looks counts for ``LONGEST_LOOK`` at
most: a watcher that did not run itself has seen nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WORKING: Final = 0.25  # part of the time between two looks; threads that only wait for messages have a few hundredths
LONGEST_LOOK: Final = 1.0  # seconds


@dataclass(frozen=True)
class Effort:
    """What the threads of a process and its children did since they began."""

    seconds: Mapping[tuple[int, int], float]  # computed or waited for a core; by process and thread
    runnable: frozenset[tuple[int, int]] = frozenset()  # threads that had or wanted a core at that moment
    on_disk: bool = False  # one of them waits for a disk now


@dataclass(frozen=True)
class Quiet:
    """What one process has shown up to now."""

    at: float  # of the last look
    progress: object  # its counters then
    effort: Effort | None = None
    seconds: float = 0.0

    def look(self, progress: object, effort: Effort | None, *, now: float) -> "Quiet":
        """Return what it has shown after another look; ``effort`` is None where the system does not tell."""
        spent = now - self.at
        if progress != self.progress or effort is None or self.effort is None:
            return Quiet(now, progress, effort)
        if _worked(self.effort, effort, spent=spent):
            return Quiet(now, progress, effort)
        return Quiet(now, progress, effort, self.seconds + min(spent, LONGEST_LOOK))


def _worked(before: Effort, after: Effort, *, spent: float) -> bool:
    """Return whether a thread was busy; one that is new counts from its beginning."""
    if after.on_disk or before.runnable & after.runnable:
        return True
    most = max((seconds - before.seconds.get(thread, 0.0) for thread, seconds in after.seconds.items()), default=0.0)
    return most >= WORKING * spent

"""Whether there is room for some weights, and which old ones go.

Never below the reserve: ``needed <= free - reserve``, the reserve being the smaller of 1 GB and a twentieth of the
volume. Old weights are those that no wish names and no other pod uses. They go, the oldest first, when room is needed;
and without need once more than ``KEPT`` weights lie there, so that the current, the next and the previous stay.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llama_serving.config import names
from llama_serving.weights.staging.decide.rate import size

KEPT: Final = 3
_RESERVE: Final = 10**9


@dataclass(frozen=True)
class Space:
    """Of a volume, in bytes."""

    free: int
    total: int

    @property
    def usable(self) -> int:
        """What may be written."""
        return self.free - min(_RESERVE, self.total // 20)


@dataclass(frozen=True)
class Old:
    """Weights on the volume that nobody wants now."""

    name: str  # of the folder
    bytes: int
    written: float  # when; larger is younger


@dataclass(frozen=True)
class Clearing:
    """What to remove, and whether there is room then."""

    remove: tuple[str, ...]
    refusal: str = ""  # one sentence; empty where there is room


def make_room(*, needed: int, space: Space, old: Iterable[Old], wanted: int) -> Clearing:
    """Room for ``needed`` more bytes; ``wanted`` weights on the volume are wanted and stay.

    Nothing is removed where all of it would not be enough.
    """
    oldest_first = sorted(old, key=lambda folder: (folder.written, folder.name))
    if needed > space.usable + sum(folder.bytes for folder in oldest_first):
        return Clearing((), _refusal(needed=needed, space=space, old=oldest_first))
    removed: list[str] = []
    usable = space.usable
    for folder in oldest_first:
        if needed <= usable and len(oldest_first) - len(removed) + wanted <= KEPT:
            break
        removed.append(folder.name)
        usable += folder.bytes
    return Clearing(tuple(removed))


def _refusal(*, needed: int, space: Space, old: list[Old]) -> str:
    reserve, more = space.free - space.usable, needed - space.usable
    removable = sum(folder.bytes for folder in old)
    also = f", {size(removable)} more by removing old weights" if removable else ""
    return (
        f"needs {size(needed)}, {size(space.free)} of {size(space.total)} free on {names.WEIGHTS_MOUNT}{also}, of "
        f"which {size(reserve)} stay free: give the volume of the weights {size(more - removable)} more"
    )

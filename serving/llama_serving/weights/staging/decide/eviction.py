"""Whether some weights fit on the volume, and which old ones are removed for them.

The reserve stays free: ``needed <= free - reserve``, the reserve being the smaller of 1 GB and a twentieth of the
volume. Old weights are those that no desired state names and no other pod uses. They are removed, the oldest first,
when space is needed; and without need once more than ``KEPT`` weights lie there, so that the current, the next and the
previous stay.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llama_serving.config import names
from llama_serving.config.wording import bytes_text

KEPT: Final = 3
_RESERVE: Final = 10**9


@dataclass(frozen=True)
class VolumeSpace:
    """Space of a volume, in bytes."""

    free: int
    total: int

    @property
    def usable(self) -> int:
        """Bytes that may be written."""
        return self.free - min(_RESERVE, self.total // 20)


@dataclass(frozen=True)
class EvictionCandidate:
    """Weights on the volume that nobody wants now."""

    name: str  # of the folder
    bytes: int
    written: float  # when; larger is younger


@dataclass(frozen=True)
class EvictionPlan:
    """What to remove, and whether the weights fit then."""

    remove: tuple[str, ...]
    refusal: str = ""  # a clause; empty where they fit


def plan_eviction(
    *, needed: int, space: VolumeSpace, candidates: Iterable[EvictionCandidate], wanted: int
) -> EvictionPlan:
    """Return what to remove for ``needed`` more bytes; ``wanted`` weights on the volume are wanted and stay.

    Nothing is removed where removing all candidates would not be enough.
    """
    oldest_first = sorted(candidates, key=lambda folder: (folder.written, folder.name))
    if needed > space.usable + sum(folder.bytes for folder in oldest_first):
        return EvictionPlan((), _refusal(needed=needed, space=space, candidates=oldest_first))
    removed: list[str] = []
    usable = space.usable
    for folder in oldest_first:
        if needed <= usable and len(oldest_first) - len(removed) + wanted <= KEPT:
            break
        removed.append(folder.name)
        usable += folder.bytes
    return EvictionPlan(tuple(removed))


def _refusal(*, needed: int, space: VolumeSpace, candidates: list[EvictionCandidate]) -> str:
    reserve, more = space.free - space.usable, needed - space.usable
    removable = sum(folder.bytes for folder in candidates)
    also = f", {bytes_text(removable)} more by removing old weights" if removable else ""
    return (
        f"needs {bytes_text(needed)}, {bytes_text(space.free)} of {bytes_text(space.total)} free on "
        f"{names.WEIGHTS_MOUNT}{also}, of which {bytes_text(reserve)} stay free: give the volume of the weights "
        f"{bytes_text(more - removable)} more"
    )

"""Can this stage read the files that its engine will load? Checked before anything starts, on every stage.

The check is the inspector's: the same faults in the same words, and no engine is started to find them.
"""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.cell.supervisor.ports import Clock
from llama_serving.config.reasons import CellReason
from llama_serving.weights.model.inspection import inspect

REFUSED_SECONDS: Final = 3.0  # how soon a repair is seen
ACCEPTED_SECONDS: Final = 60.0


class WeightsCheck:
    """Checks the folder of the desired weights again and again, so that a ``chmod`` heals without a restart.

    A check opens every file, on a volume that may be far away: its result is good for a while.
    """

    def __init__(self, folder: Callable[[], Path], *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._fault: CellFault | None = None
        self._good_until = -math.inf

    async def fault(self) -> CellFault | None:
        """Return what keeps the engine from its weights; None where nothing does."""
        if self._clock() >= self._good_until:
            report = await asyncio.to_thread(inspect, self._folder())
            accepted = report.outcome == "accepted"
            self._fault = None if accepted else CellFault(CellReason(report.reason), report.message)
            self._good_until = self._clock() + (ACCEPTED_SECONDS if accepted else REFUSED_SECONDS)
        return self._fault

    def fingerprint(self) -> object:
        """Return names, sizes and times of the files; differs when one was added, removed or written."""
        try:
            return sorted((path.name, *_size_and_time(path)) for path in self._folder().iterdir())
        except OSError as error:
            return error.errno


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns

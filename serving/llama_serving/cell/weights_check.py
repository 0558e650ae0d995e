"""Can this stage read the files that its engine will load? Asked before anything starts, on every stage.

The answer is the inspector's: the same faults in the same words, and no engine is started to find them.
"""

import asyncio
from pathlib import Path

from llama_serving.cell.machine import Fault
from llama_serving.config.state import CellReason
from llama_serving.weights.inspect import inspect


class WeightsCheck:
    """Looks at one folder each time it is asked, so that a ``chmod`` heals without a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fault(self) -> Fault | None:
        """What keeps the engine from its weights; None where nothing does."""
        report = await asyncio.to_thread(inspect, self._folder)
        return None if report.outcome == "accepted" else Fault(CellReason(report.reason), report.message)

    def fingerprint(self) -> object:
        """Names, sizes and times of the files; differs when one was added, removed or written."""
        try:
            return sorted((path.name, *_size_and_time(path)) for path in self._folder.iterdir())
        except OSError as error:
            return error.errno


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns

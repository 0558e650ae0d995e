"""Who watches the supervisor: the ``ray start`` process that it started ends it when it is stopped (state T).

The kubelet's liveness probe finds any supervisor that does not answer, after a minute and more. This finds the kind of
silence that can be told from slowness at once. The container ends with its supervisor and starts again.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from llama_serving.cell.policy.hang import STOPPED
from llama_serving.cell.policy.quiet import LONGEST_LOOK
from llama_serving.cell.watch.processes import STOPPED_STATES, ProcessStat, kill_process, read_process

logger = logging.getLogger(__name__)

_PERIOD: Final = 0.5  # seconds


def watch_parent(parent: int) -> None:
    """Watch the process ``parent`` in a thread until this process ends."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="supervisor-watch").start()


def _watch(parent: int) -> None:
    stopped = 0.0
    while (process := read_process(parent)) is not None:
        stopped = next_stopped(stopped, process, spent=_PERIOD, kill=kill_process)
        time.sleep(_PERIOD)


def next_stopped(stopped: float, process: ProcessStat, *, spent: float, kill: Callable[[ProcessStat], object]) -> float:
    """Return for how many watched seconds ``process`` has been stopped, after ``spent`` more; end it at the limit."""
    if process.state not in STOPPED_STATES:
        return 0.0
    stopped += min(spent, LONGEST_LOOK)
    if stopped > STOPPED:
        logger.error(
            "the supervisor is stopped (state T) for %.1f s; it is ended and its container starts again", stopped
        )
        kill(process)
    return stopped

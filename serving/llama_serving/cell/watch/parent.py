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
from llama_serving.cell.watch.processes import STOPPED_STATES, ProcessStat, kill_process, read_process, seconds_run

logger = logging.getLogger(__name__)

PERIOD: Final = 0.5  # seconds between two looks


def watch_parent(parent: int) -> None:
    """Watch the process ``parent`` in a thread until this process ends."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="supervisor-watch").start()


def _watch(parent: int) -> None:
    stopped, ran = 0.0, 0.0
    while (process := read_process(parent)) is not None:
        before, ran = ran, seconds_run(parent)
        stopped = next_stopped(stopped, process, went_on=before != ran, kill=kill_process)
        time.sleep(PERIOD)


def next_stopped(
    stopped: float, process: ProcessStat, *, went_on: bool, kill: Callable[[ProcessStat], object]
) -> float:
    """Return for how many watched seconds ``process`` has been stopped after another look; end it at the limit."""
    if process.state not in STOPPED_STATES or went_on:
        return 0.0
    stopped += PERIOD
    if stopped >= STOPPED:
        logger.error("the supervisor is stopped (state T) for %.1f s; its container is ended and starts again", stopped)
        kill(process)
    return stopped

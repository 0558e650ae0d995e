"""Critical tasks: work without which a process is worth nothing."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, Final

logger = logging.getLogger("ray.serve")

EXIT_CODE: Final = 18


def run_critical(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run ``work``; when it ends, however, this process ends too. Cancelling the task is the way out.

    Serve replaces a replica whose process has ended within a second or two; by its health checks it needs three failed
    rounds first.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.error("this process ends, so that it is replaced", exc_info=task.exception())
            os._exit(EXIT_CODE)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task

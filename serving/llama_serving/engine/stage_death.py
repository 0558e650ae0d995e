"""A dead stage ends the engine core.

When the process of a stage on another node dies, vLLM 0.32 notices (its monitor calls the failure callback) but the
engine core's main thread stays in a poll on the dead stage's answer for up to ``VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS``
(300 s). The replica looks healthy meanwhile and every request hangs. With the process gone the replica knows at once:
streams end with an error, requests fail, Serve starts a new replica.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

EXIT_CODE: Final = 17
GRACE: Final = 0.5  # seconds in which vLLM's own callback may still tell its client why


def ending_the_process(
    callback: Callable[[], None], *, grace: float = GRACE, end: Callable[[int], object] = os._exit
) -> Callable[[], None]:
    """Return a failure callback that calls ``callback`` and ends this process ``grace`` seconds later.

    ``os._exit`` on purpose: a normal exit joins the thread that hangs.
    """

    def failed() -> None:
        logger.error("a stage has died: the engine core ends with exit code %d", EXIT_CODE)
        timer = threading.Timer(grace, end, args=(EXIT_CODE,))
        timer.daemon = True
        timer.start()
        callback()

    return failed

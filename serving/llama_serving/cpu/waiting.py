"""A stage sleeps while it waits for its next step.

vLLM 0.32 spins for a second after each message of its queues in shared memory, and only then waits for a notification.
That keeps a core busy as long as any request runs: on a GPU it has nothing else to do, on CPU it is one of those that
the stages compute with. Notifications alone are not enough, though: they go over a socket that drops them while it
takes an earlier one for unread, and after a message whose notification was dropped the reader would sleep for ever
(seen within 2000 messages). So it naps: until it is notified, and for 2 ms at most.
"""

import time
from typing import Any, Final

from vllm.distributed.device_communicators import shm_broadcast

NAP_MS: Final = 2
_NAPPING_SECONDS: Final = 1.0  # after a message; as long as stock spins


class NappingCondition(shm_broadcast.SpinCondition):  # type: ignore[misc]
    """Naps where stock spins; sleeps after a second of silence, as stock does."""

    def __init__(self, is_reader: bool, context: Any, notify_address: str) -> None:
        super().__init__(is_reader, context, notify_address, busy_loop_s=0)

    def wait(self, timeout_ms: int | None = None) -> None:
        """Wait until there may be a message: for a nap at most, or after a second of silence for ``timeout_ms``."""
        recent = time.monotonic() <= self.last_read + _NAPPING_SECONDS
        super().wait(NAP_MS if recent else timeout_ms)


def nap_while_waiting() -> None:
    """Let all queues that this process makes from now on wait this way. Calling it twice is harmless."""
    shm_broadcast.SpinCondition = NappingCondition

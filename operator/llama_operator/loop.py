"""One loop per LlamaDeployment: events only wake it, every pass is a full pass, it never ends by itself.

The flag is cleared before the state is read, so no wake-up is lost. A floor between passes merges bursts of events. A
failed pass is tried again with growing pauses; an event, such as an edit that mends it, ends the pause.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from llama_operator.ports import Key, Retry
from llama_serving.config.backoff import doubling_pause

log = logging.getLogger(__name__)

FLOOR = 0.3  # seconds between two passes
LONGEST_PASS = 60.0  # seconds; what is left undone then is done by the next, which starts from what is
AFTER_FAILURE = 1.0  # seconds between a failed pass and the next, whatever wakes the loop
LONGEST = 60.0  # seconds between two tries of a pass that fails


@dataclass
class Heartbeat:
    """Age of the last finished pass over all loops: what the liveness probe asks."""

    clock: Callable[[], float]
    last: float = 0.0
    due: dict[Key, float] = field(default_factory=dict)  # when each loop's present wait ends

    def beat(self, key: Key, wait: float) -> None:
        """Note that a pass has ended, and that the next one is due in ``wait`` seconds."""
        self.last = self.clock()
        self.due[key] = self.last + wait

    def forget(self, key: Key) -> None:
        """Forget a loop that has ended with its object."""
        self.due.pop(key, None)

    def late(self) -> float:
        """Seconds by which the latest loop missed its time; 0 when none did."""
        now = self.clock()
        return max((now - due for due in self.due.values() if now > due), default=0.0)


async def run_loop(
    key: Key,
    *,
    wake: asyncio.Event,
    stopped: Callable[[], bool],
    one_pass: Callable[[], Awaitable[float]],
    heartbeat: Heartbeat,
) -> None:
    """Pass after pass until ``stopped``; ``one_pass`` returns the seconds until the next one."""
    failures = 0
    heartbeat.beat(key, LONGEST_PASS)
    while not stopped():
        wake.clear()
        try:
            async with asyncio.timeout(LONGEST_PASS):
                wait, failures = await one_pass(), 0
        except Retry as error:
            failures += 1
            wait = max(error.after, backoff(failures))
            log.warning("%s/%s: pass failed, next in %.0f s: %s", key.namespace, key.name, wait, error)
        except Exception:  # the loop must outlive a bug in a pass: kopf never starts a daemon again
            failures += 1
            wait = backoff(failures)
            log.exception("%s/%s: pass failed, next in %.0f s", key.namespace, key.name, wait)
        floor = AFTER_FAILURE if failures else FLOOR
        wait = max(wait, floor)
        heartbeat.beat(key, wait)
        await asyncio.sleep(floor)
        await _nap(wake, wait - floor)


def backoff(failures: int) -> float:
    """Pause after so many failed passes: 1, 2, 4 ... seconds, at most LONGEST."""
    return doubling_pause(failures, first=AFTER_FAILURE, longest=LONGEST)


async def _nap(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return

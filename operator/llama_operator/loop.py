"""One loop per LlamaDeployment: events only wake it, every pass is a full pass, it never ends by itself.

The flag is cleared before the state is read, so no wake-up is lost. A floor between passes merges bursts of events. A
failed pass is tried again with growing pauses; an event, such as an edit that mends it, ends the pause.

A pass has a turn (scopes/term.py): so many run at once, and none where another operator holds the lease of the
namespace. Waiting for the turn counts neither against the deadline of the pass nor as late.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from llama_operator.ports import Key, Rejected, Retry
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
    turn: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> None:
    """Pass after pass until ``stopped``; ``one_pass`` returns the seconds until the next one.

    ``turn`` waits for the turn of a pass. It may end one early, as when the lease is lost.
    """
    pace = _Pace(key)
    while not stopped():
        heartbeat.forget(key)
        pace.begin()
        async with turn():
            if stopped():
                break
            heartbeat.beat(key, LONGEST_PASS)
            wake.clear()
            await pace.run(one_pass)
        heartbeat.beat(key, pace.wait)
        await asyncio.sleep(pace.floor)
        await _nap(wake, pace.wait - pace.floor)


@dataclass
class _Pace:
    """When the next pass of a loop is due, after those that there were."""

    key: Key
    failures: int = 0  # one after the other
    wait: float = 0.0  # seconds
    ended_early: bool = False

    @property
    def floor(self) -> float:
        """Seconds until the next pass, whatever wakes the loop."""
        return AFTER_FAILURE if self.failures or self.ended_early else FLOOR

    def begin(self) -> None:
        """Take it that the pass does not come to its end."""
        self.ended_early, self.wait = True, AFTER_FAILURE

    async def run(self, one_pass: Callable[[], Awaitable[float]]) -> None:
        """Run a pass; only a cancellation gets out of here."""
        try:
            async with asyncio.timeout(LONGEST_PASS):
                wait, self.failures = await one_pass(), 0
        except Retry as error:
            wait = max(error.after, self._failed())
            log.warning("%s/%s: pass failed, next in %.0f s: %s", self.key.namespace, self.key.name, wait, error)
        except Rejected as error:  # a right is missing, or the namespace ends
            wait = self._failed()
            log.warning("%s/%s: pass refused, next in %.0f s: %s", self.key.namespace, self.key.name, wait, error)
        except Exception:  # the loop must outlive a bug in a pass: nothing starts it again
            wait = self._failed()
            log.exception("%s/%s: pass failed, next in %.0f s", self.key.namespace, self.key.name, wait)
        self.ended_early = False
        self.wait = max(wait, self.floor)

    def _failed(self) -> float:
        self.failures += 1
        return backoff(self.failures)


def backoff(failures: int) -> float:
    """Pause after so many failed passes: 1, 2, 4 ... seconds, at most LONGEST."""
    return doubling_pause(failures, first=AFTER_FAILURE, longest=LONGEST)


async def _nap(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return

"""One namespace that the operator serves, or all of them: what it lacks, and the watches once it lacks nothing.

Before the CRDs are there, without a right, or where the namespace is gone, nothing is watched: the sentence is in
/ready, in the log and, where that may be written, on the objects. It is looked at again every RETRY seconds. What one
namespace lacks costs no other anything. A watch that fails is begun again the same way. Where the API server does not
say what is lacking, or watches fail one after the other, the pauses grow, with jitter, up to LONGEST seconds.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from llama_operator.ports import Manifest, Rejected, Retry, Scopes
from llama_operator.scopes import sentences
from llama_operator.scopes.listings import Listings
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.error_text import error_text

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds
LONGEST = 30.0  # seconds
LASTED = 60.0  # seconds after which a watch that ends is no failure that follows another one

#: Watches a namespace until it is cancelled, or raises when a watch fails.
Watch = Callable[[str], Awaitable[None]]
#: Tells an object what keeps it from being served.
Tell = Callable[[Manifest, str], Awaitable[None]]


@dataclass
class Scope:
    """A watched namespace, or all (empty), and how it goes."""

    namespace: str
    kinds: Sequence[tuple[str, str]]  # what is watched: group and version, plural
    obstacles: tuple[str, ...] = (sentences.starting(),)
    closed: bool = False  # nothing in the namespace may be seen: it is gone, or its Role is
    listings: Listings = field(default_factory=lambda: Listings(time.monotonic))
    jitter: Callable[[], float] = random.random  # 0 to 1
    failures: int = 0  # looks without an answer and watches that failed, one after the other

    async def run(self, port: Scopes, *, watch: Watch, tell: Tell) -> None:
        """Watch whenever that can be done, for ever."""
        while True:
            self._learn(await self._look(port))
            if self.obstacles:
                await self._tell_objects(port, tell)
            else:
                await self._watch(watch)
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Return RETRY after the first two failures, then twice as long each time; at least half of it by jitter."""
        pause = doubling_pause(max(self.failures - 1, 1), first=RETRY, longest=LONGEST)
        return pause * (0.5 + self.jitter() / 2)

    async def _look(self, port: Scopes) -> tuple[str, ...]:
        self.listings.want(self.label)
        try:
            found = await port.obstacles(self.namespace, self.kinds)
        except (Retry, Rejected) as error:
            self.failures += 1
            return (str(error),)
        except Exception as error:  # nothing starts a scope again
            self.failures += 1
            log.exception("%s: what it lacks was not found out", self.label)
            return (error_text(error),)
        self.listings.got(self.label)
        if found.sentences:
            self.failures = 0
        self.closed = found.closed
        return found.sentences

    def _learn(self, obstacles: tuple[str, ...]) -> None:
        if obstacles != self.obstacles and obstacles:
            log.warning("%s not served: %s", self.label, "; ".join(obstacles))
        elif self.obstacles and not obstacles:
            log.info("%s watched", self.label)
        self.obstacles = obstacles

    async def _watch(self, watch: Watch) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            await watch(self.namespace)
            self._learn((sentences.watch_failed("it came to its end"),))
        except Exception as error:  # kopf's errors have no common class; the next look says what is lacking
            self._learn((sentences.watch_failed(f"{type(error).__name__}: {error}"),))
        lasted = asyncio.get_running_loop().time() - begun
        self.failures = 1 if lasted > LASTED else self.failures + 1

    async def _tell_objects(self, port: Scopes, tell: Tell) -> None:
        """Tell the objects; best effort: the same obstacle may keep them from being seen or written."""
        try:
            for body in await port.objects(self.namespace):
                await tell(body, "; ".join(self.obstacles))
        except (Retry, Rejected) as error:
            log.info("%s: its objects were not told: %s", self.label, error)
        except Exception:  # nothing starts a scope again
            log.exception("%s: its objects were not told", self.label)

    @property
    def label(self) -> str:
        """Name it, for humans."""
        return f"namespace {self.namespace} is" if self.namespace else "all namespaces are"

"""One namespace that the operator serves, or all of them: what it lacks, and the watches once it lacks nothing.

Before the CRDs are there, without a right, or where the namespace is gone, nothing is watched: the sentence is in
/ready, in the log and, where that may be written, on the objects. It is looked at again every RETRY seconds. What one
namespace lacks costs no other anything. A watch that fails is begun again the same way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from llama_operator.ports import Manifest, Rejected, Retry, Scopes
from llama_operator.scopes import sentences

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds

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

    async def run(self, port: Scopes, *, watch: Watch, tell: Tell) -> None:
        """Watch whenever that can be done, for ever."""
        while True:
            self._learn(await self._look(port))
            if self.obstacles:
                await self._tell_objects(port, tell)
            else:
                await self._watch(watch)
            await asyncio.sleep(RETRY)

    async def _look(self, port: Scopes) -> tuple[str, ...]:
        try:
            found = await port.obstacles(self.namespace, self.kinds)
        except (Retry, Rejected) as error:
            return (str(error),)
        self.closed = found.closed
        return found.sentences

    def _learn(self, obstacles: tuple[str, ...]) -> None:
        if obstacles != self.obstacles and obstacles:
            log.warning("%s not served: %s", self.label, "; ".join(obstacles))
        elif self.obstacles and not obstacles:
            log.info("%s watched", self.label)
        self.obstacles = obstacles

    async def _watch(self, watch: Watch) -> None:
        try:
            await watch(self.namespace)
            self._learn((sentences.watch_failed("it came to its end"),))
        except Exception as error:  # kopf's errors have no common class; the next look says what is lacking
            self._learn((sentences.watch_failed(f"{type(error).__name__}: {error}"),))

    async def _tell_objects(self, port: Scopes, tell: Tell) -> None:
        """Tell the objects; best effort: the same obstacle may keep them from being seen or written."""
        try:
            for body in await port.objects(self.namespace):
                await tell(body, "; ".join(self.obstacles))
        except (Retry, Rejected) as error:
            log.info("%s: its objects were not told: %s", self.label, error)

    @property
    def label(self) -> str:
        """Name it, for humans."""
        return f"namespace {self.namespace} is" if self.namespace else "all namespaces are"

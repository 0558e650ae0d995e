"""The loop of a stager: read the wish, work on the first item that is not ready, say how far everything is.

One attempt runs at a time, so that the most wanted weights get the whole connection. A new wish ends it when it is not
the first thing to do any more; what it finished stays. Ready weights are looked at again every ``LOOK`` seconds (sizes
and times of the files); when they changed they are verified anew.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from llama_serving.config.desired import DesiredState, StagingState, WeightsArtifact
from llama_serving.weights.staging.attempt import Attempt, Verified, folder_of
from llama_serving.weights.staging.decide.errors import NotYet, Refused
from llama_serving.weights.staging.decide.item import Entry
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.decide.queue import choose, protected, wanted
from llama_serving.weights.staging.io.concurrency import in_thread
from llama_serving.weights.staging.io.control_files import Inbox, Outbox
from llama_serving.weights.staging.io.housekeeping import folder_names, free_bytes, keep_house
from llama_serving.weights.staging.io.lease import BEAT
from llama_serving.weights.staging.io.verify import fingerprint
from llama_serving.weights.staging.ports import Site, Tools

logger = logging.getLogger("llama_serving.stager")

PERIOD: Final = 0.5  # seconds between two steps
LOOK: Final = 10.0
HOUSEKEEPING: Final = 60.0
_NOTABLE: Final = 64 << 20  # a change of the free bytes that alone is worth a report


class Stager:
    """One stage's stager. Call ``run``, or ``step`` again and again."""

    def __init__(self, *, site: Site, tools: Tools, inbox: Inbox, outbox: Outbox) -> None:
        self._site = site
        self._tools = tools
        self._inbox = inbox
        self._outbox = outbox
        self._told: tuple[DesiredState | None, WeightsArtifact | None] = (None, None)
        self._entries: dict[str, Entry] = {}  # by digest, most wanted first
        self._verified: dict[tuple[str, Path], Verified] = {}  # by digest and folder, as long as the process lives
        self._running: _Running | None = None
        self._looking = _Every(LOOK, tools.clock)
        self._housekeeping = _Every(HOUSEKEEPING, tools.clock)
        self._beating = _Every(BEAT, tools.clock)
        self.state: StagingState | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Step after step until ``stop`` is set; ``close`` afterwards."""
        while not stop.is_set():
            await self.step()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PERIOD)

    async def close(self) -> None:
        """End the attempt that runs, once its threads have ended; what it finished stays."""
        if self._running:
            await self._running.cancel()
            self._running = None

    async def step(self) -> None:
        """Look at everything once."""
        await self._listen()
        self._reap()
        await self._look()
        await self._beat()
        await self._keep_house()
        self._start()
        await self._report()

    async def _listen(self) -> None:
        told = await in_thread(self._tools.pool, self._inbox.read)
        before, self._told = self._told, told
        if told == before:
            return
        self._entries = {item.weights.digest: self._entry(item) for item in wanted(*told)}
        self._housekeeping.soon()
        running = self._running
        if running and (self._next() != running.digest or self._entries[running.digest] is not running.entry):
            await running.cancel()
            self._running = None

    def _entry(self, item: WeightsArtifact) -> Entry:
        """What is known of the item; nothing when it was another one before."""
        entry = self._entries.get(item.weights.digest)
        return entry if entry and entry.item == item else Entry(item, Gauge(self._tools.clock))

    def _next(self) -> str | None:
        return choose(
            self._entries,
            ready=[digest for digest, entry in self._entries.items() if entry.ready],
            not_before={digest: entry.not_before for digest, entry in self._entries.items()},
            now=self._tools.clock(),
        )

    def _start(self) -> None:
        digest = self._next()
        if self._running or digest is None:
            return
        entry = self._entries[digest]
        attempt = Attempt(
            entry.item,
            site=self._site,
            tools=self._tools,
            gauge=entry.gauge,
            protected=self._kept(),
            known=self._verified.get((digest, folder_of(entry.item, self._site))),
            room=entry.room,
        )
        self._running = _Running(digest, entry, attempt)

    def _reap(self) -> None:
        running = self._running
        if running is None or not running.task.done():
            return
        self._running = None
        entry, name = running.entry, running.entry.item.weights.id
        try:
            running.task.result()
        except (Refused, NotYet) as verdict:
            entry.failed(verdict, files=running.attempt.files, now=self._tools.clock())
            logger.warning("%s: %s: %s", name, verdict.reason, verdict.message)
            return
        entry.became_ready(running.attempt.files)
        self._verified[running.digest, running.attempt.folder] = Verified(running.attempt.files, entry.gauge.total)
        self._housekeeping.soon()
        logger.info("%s is ready in %s", name, running.attempt.folder)

    async def _look(self) -> None:
        """Judge anew what was judged by files that have changed since."""
        if not self._looking.is_due():
            return
        for entry in self._entries.values():
            if entry.ready or entry.files is not None:
                folder = folder_of(entry.item, self._site)
                with suppress(OSError):
                    if await in_thread(self._tools.pool, fingerprint, folder) != entry.files:
                        logger.warning("%s has changed and is verified again", folder)
                        entry.changed()

    async def _beat(self) -> None:
        running = self._running
        if running and self._beating.is_due():
            with suppress(OSError):
                if not await in_thread(self._tools.pool, running.attempt.beat):
                    logger.warning("another pod has taken over %s", running.attempt.folder)
                    await self.close()

    async def _keep_house(self) -> None:
        if not self._housekeeping.is_due():
            return
        try:
            await in_thread(self._tools.pool, lambda: keep_house(self._kept(), site=self._site, tools=self._tools))
        except OSError as error:
            logger.warning("old weights cannot be looked after: %s", error)

    async def _report(self) -> None:
        """Write the state when it differs from what was written last."""
        wish = self._told[0]
        key = wish.key if wish else ""
        running = self._running.digest if self._running else None
        shown = tuple(entry.shown(running=digest == running) for digest, entry in self._entries.items())
        free = await in_thread(self._tools.pool, free_bytes, self._site, self._tools)
        last = self.state
        if last and (last.desired, last.weights) == (key, shown) and abs(last.disk_free - free) < _NOTABLE:
            return
        state = StagingState(weights=shown, desired=key, disk_free=free)
        try:
            await in_thread(self._tools.pool, self._outbox.write, state)
        except OSError as error:
            logger.error("the state cannot be written: %s", error)
            return
        self.state = state

    def _kept(self) -> frozenset[str]:
        return folder_names(protected(*self._told))


class _Every:
    """Something that is done again and again."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether it is time; then the next time is ``seconds`` from now."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def soon(self) -> None:
        """It is time."""
        self._next = 0.0


class _Running:
    """An attempt at work."""

    def __init__(self, digest: str, entry: Entry, attempt: Attempt) -> None:
        self.digest = digest
        self.entry = entry
        self.attempt = attempt
        self.task = asyncio.create_task(attempt.run())

    async def cancel(self) -> None:
        """End it and wait for its end."""
        self.task.cancel()
        await asyncio.wait([self.task])

"""The loop of a stager: read the desired state, work on the first item that is not ready, report on all of them.

One attempt runs at a time, so that the most wanted weights get the whole connection. A new desired state cancels the
attempt when its item is not the first to do any more; what it finished stays. Ready weights are checked again every
``RECHECK`` seconds (sizes and times of the files); when they changed they are verified anew.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from llama_serving.common.concurrency import in_thread
from llama_serving.config.desired import DesiredState, StagedWeights, StagingState, WeightsArtifact
from llama_serving.weights.staging.attempt import Attempt, VerifiedFiles
from llama_serving.weights.staging.decide.artifact import Artifact, digest_of, is_adapter, reference
from llama_serving.weights.staging.decide.errors import RetryLater, StagingRefused
from llama_serving.weights.staging.decide.item import QueueItem
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.queue import choose, protected, protected_adapters, wanted
from llama_serving.weights.staging.dependencies import StagePod, StagerDependencies, staged_folder
from llama_serving.weights.staging.io.control_files import DesiredFiles, StateFile
from llama_serving.weights.staging.io.housekeeping import clean_adapters, clean_volume, folder_names, free_bytes
from llama_serving.weights.staging.io.lease import HEARTBEAT
from llama_serving.weights.staging.io.verify import fingerprint
from llama_serving.weights.staging.timer import PeriodicTimer

logger = logging.getLogger("llama_serving.stager")

PERIOD: Final = 0.5  # seconds between two steps
RECHECK: Final = 10.0
HOUSEKEEPING: Final = 60.0
_NOTABLE: Final = 64 << 20  # a change of the free bytes that alone is worth a report


class Stager:
    """One stage's stager. Call ``run``, or ``step`` again and again."""

    def __init__(
        self, *, pod: StagePod, deps: StagerDependencies, desired_files: DesiredFiles, state_file: StateFile
    ) -> None:
        self._pod = pod
        self._deps = deps
        self._desired_files = desired_files
        self._state_file = state_file
        self._desired: tuple[DesiredState | None, WeightsArtifact | None] = (None, None)
        self._items: dict[str, QueueItem] = {}  # by digest, most wanted first
        self._verified: dict[tuple[str, Path], VerifiedFiles] = {}  # by digest and folder, while the process lives
        self._running: _RunningAttempt | None = None
        self._recheck_timer = PeriodicTimer(RECHECK, clock=deps.clock)
        self._housekeeping_timer = PeriodicTimer(HOUSEKEEPING, clock=deps.clock)
        self._lease_timer = PeriodicTimer(HEARTBEAT, clock=deps.clock)
        self.state: StagingState | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run step after step until ``stop`` is set; call ``close`` afterwards."""
        while not stop.is_set():
            await self.step()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PERIOD)

    async def close(self) -> None:
        """Cancel the running attempt and wait until its threads have ended; what it finished stays."""
        if self._running:
            await self._running.cancel()
            self._running = None

    async def step(self) -> None:
        """Run one pass of the loop."""
        await self._read_desired()
        self._collect_result()
        await self._recheck()
        await self._renew_lease()
        await self._clean_volume()
        self._start_attempt()
        await self._report()

    async def _read_desired(self) -> None:
        desired = await in_thread(self._deps.pool, self._desired_files.read)
        before, self._desired = self._desired, desired
        if desired == before:
            return
        self._items = {digest_of(artifact): self._queue_item(artifact) for artifact in wanted(*desired)}
        self._housekeeping_timer.make_due()
        running = self._running
        if running and (self._choose() != running.digest or self._items[running.digest] is not running.item):
            await running.cancel()
            self._running = None

    def _queue_item(self, artifact: Artifact) -> QueueItem:
        """Return the item with what is known of it; a new one when the artifact has changed."""
        item = self._items.get(digest_of(artifact))
        return item if item and item.artifact == artifact else QueueItem(artifact, StagingProgress(self._deps.clock))

    def _choose(self) -> str | None:
        return choose(
            self._items,
            ready=[digest for digest, item in self._items.items() if item.ready],
            not_before={digest: item.not_before for digest, item in self._items.items()},
            now=self._deps.clock(),
        )

    def _start_attempt(self) -> None:
        digest = self._choose()
        if self._running or digest is None:
            return
        item = self._items[digest]
        attempt = Attempt(
            item.artifact,
            pod=self._pod_for(item.artifact),
            deps=self._deps,
            progress=item.progress,
            protected=self._protected_folders(),
            known=self._verified.get((digest, staged_folder(item.artifact, self._pod))),
            bytes_needed=item.bytes_needed,
        )
        self._running = _RunningAttempt(item, attempt)

    def _pod_for(self, artifact: Artifact) -> StagePod:
        """Return the pod, without its credentials where they may not be sent to the artifact's source."""
        if self._pod.credentials is None or self._desired_files.trust.allows_credentials(artifact):
            return self._pod
        logger.warning("%s is read without credentials: they are for other places", artifact.source)
        return replace(self._pod, credentials=None)

    def _collect_result(self) -> None:
        running = self._running
        if running is None or not running.task.done():
            return
        self._running = None
        item, attempt, name = running.item, running.attempt, reference(running.item.artifact).id
        try:
            running.task.result()
        except (StagingRefused, RetryLater) as failure:
            item.mark_failed(failure, files=attempt.files, now=self._deps.clock())
            logger.warning("%s: %s: %s", name, failure.reason, failure.message)
            return
        item.mark_ready(attempt.files)
        self._verified[running.digest, attempt.folder] = VerifiedFiles(attempt.files, item.progress.total)
        self._housekeeping_timer.make_due()
        logger.info("%s is ready in %s", name, attempt.folder)

    async def _recheck(self) -> None:
        """Verify anew what was verified or refused by files that have changed since."""
        if not self._recheck_timer.is_due():
            return
        for item in self._items.values():
            if item.ready or item.files is not None:
                folder = staged_folder(item.artifact, self._pod)
                with suppress(OSError):
                    if await in_thread(self._deps.pool, fingerprint, folder) != item.files:
                        logger.warning("%s has changed and is verified again", folder)
                        item.mark_changed()

    async def _renew_lease(self) -> None:
        running = self._running
        if running and self._lease_timer.is_due():
            with suppress(OSError):
                if not await in_thread(self._deps.pool, running.attempt.renew_lease):
                    logger.warning("another pod has taken over %s", running.attempt.folder)
                    await self.close()

    async def _clean_volume(self) -> None:
        if not self._housekeeping_timer.is_due():
            return
        folders, adapters = self._protected_folders(), folder_names(protected_adapters(self._desired[0]))
        try:
            await in_thread(self._deps.pool, lambda: clean_adapters(adapters, pod=self._pod, deps=self._deps))
            await in_thread(self._deps.pool, lambda: clean_volume(folders, pod=self._pod, deps=self._deps))
        except OSError as error:
            logger.warning("old weights cannot be removed: %s", error)

    async def _report(self) -> None:
        """Write the state when it differs from what was written last."""
        desired = self._desired[0]
        key = desired.key if desired else ""
        running = self._running.digest if self._running else None
        statuses = self._statuses(running, adapters=False)
        adapters = self._statuses(running, adapters=True)
        free = await in_thread(self._deps.pool, free_bytes, self._pod, self._deps)
        last = self.state
        state = StagingState(weights=statuses, adapters=adapters, desired=key, disk_free=free)
        same = last is not None and last.model_copy(update={"disk_free": free}) == state
        if same and last and abs(last.disk_free - free) < _NOTABLE:
            return
        try:
            await in_thread(self._deps.pool, self._state_file.write, state)
        except OSError as error:
            logger.error("the state cannot be written: %s", error)
            return
        self.state = state

    def _statuses(self, running: str | None, *, adapters: bool) -> tuple[StagedWeights, ...]:
        trust = self._desired_files.trust
        known = tuple(
            item.status(running=digest == running)
            for digest, item in self._items.items()
            if is_adapter(item.artifact) == adapters
        )
        refused = (one for one in trust.refused if is_adapter(one) == adapters and digest_of(one) not in self._items)
        return (*known, *map(trust.status, refused))

    def _protected_folders(self) -> frozenset[str]:
        return folder_names(protected(*self._desired))


class _RunningAttempt:
    """An attempt and its task."""

    def __init__(self, item: QueueItem, attempt: Attempt) -> None:
        self.digest = digest_of(item.artifact)
        self.item = item
        self.attempt = attempt
        self.task = asyncio.create_task(attempt.run())

    async def cancel(self) -> None:
        """Cancel the attempt and wait for its end."""
        self.task.cancel()
        await asyncio.wait([self.task])

"""One attempt to make some weights, or an adapter, ready on this stage: verify what lies there, or download them.

====================================  ===================================================================
where the weights lie                 what the attempt does
====================================  ===================================================================
a claim that is mounted (``pvc://``)  verifies them in place; the engine reads them there
in their folder on our volume         verifies them: the disk may have changed; removes damaged ones
nowhere, or in a begun folder         downloads them, one pod at a time where several share the volume
====================================  ===================================================================
"""

import logging
from collections.abc import Collection, Hashable
from contextlib import suppress
from dataclasses import dataclass

from llama_serving.common.concurrency import in_thread
from llama_serving.config.reasons import StagingReason
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.source.interface import Gone
from llama_serving.weights.staging.decide.artifact import Artifact, digest_of
from llama_serving.weights.staging.decide.errors import RetryLater, StagingRefused, digest_differs
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.dependencies import StagePod, StagerDependencies, is_in_place, staged_folder
from llama_serving.weights.staging.failures import translate_failures
from llama_serving.weights.staging.io.download import Download, find_evictions
from llama_serving.weights.staging.io.lease import SETTLE, Lease, mark_used
from llama_serving.weights.staging.io.partial_folder import journal_path
from llama_serving.weights.staging.io.verify import fingerprint, verify_mounted, verify_staged

logger = logging.getLogger("llama_serving.stager")


@dataclass(frozen=True)
class VerifiedFiles:
    """Files that were verified once; files with the same fingerprint are not read again."""

    files: Hashable  # their fingerprint
    bytes: int  # that the stage needs of them


class Attempt:
    """Makes the weights of ``item`` ready. ``folder`` is where its files are or will be; ``known``: verified there.

    ``bytes_needed`` is what the last attempt had no space for; this one looks for that space before anything else.
    """

    def __init__(
        self,
        item: Artifact,
        *,
        pod: StagePod,
        deps: StagerDependencies,
        progress: StagingProgress,
        protected: Collection[str],
        known: VerifiedFiles | None = None,
        bytes_needed: int = 0,
    ) -> None:
        self._item = item
        self._pod = pod
        self._deps = deps
        self._progress = progress
        self._protected = protected
        self._known = known
        self._bytes_needed = bytes_needed
        self._lease: Lease | None = None
        self.folder = staged_folder(item, pod)
        self.files: Hashable = None  # fingerprint of the folder that was verified or refused; None where nothing was

    async def run(self) -> None:
        """Return when the weights are ready. Raises StagingRefused and RetryLater."""
        with translate_failures():
            await self._run()

    def renew_lease(self) -> bool:
        """Show other pods that this one is alive; return False when another one has taken over. Blocks."""
        lease = self._lease
        # The attempt may have released the lease while it was renewed.
        return lease is None or lease.renew() or self._lease is None

    async def _run(self) -> None:
        item = self._item
        if digest_of(item) != item.manifest.digest:
            raise digest_differs(f"the manifest has digest {item.manifest.digest}, wanted are {digest_of(item)}")
        before = await in_thread(self._deps.pool, fingerprint, self.folder)
        if self._known and before is not None and before == self._known.files:
            self.files = before
            self._progress.begin("verified", total=self._known.bytes, done=self._known.bytes)
        elif is_in_place(item):
            self.files = before
            await verify_mounted(self.folder, item.manifest, pod=self._pod, deps=self._deps, progress=self._progress)
        elif await self._is_staged():
            await in_thread(self._deps.pool, self._remove_leftovers)
        else:
            await self._download()

    async def _is_staged(self) -> bool:
        before = await in_thread(self._deps.pool, fingerprint, self.folder)
        if before is None:
            return False
        try:
            await verify_staged(self.folder, self._item, pod=self._pod, deps=self._deps, progress=self._progress)
        except (StagingRefused, RefusedError, Gone) as error:
            logger.warning("%s is damaged and is downloaded again: %s", self.folder, error)
            return False
        self.files = before
        return True

    def _remove_leftovers(self) -> None:
        """Remove the files of an attempt that was killed between publishing and its end."""
        lease = self._folder_lease()
        if lease.is_ours():
            self._deps.disk.remove(journal_path(self.folder))
            lease.release()

    def _folder_lease(self) -> Lease:
        return Lease(self.folder, holder=self._pod.holder, disk=self._deps.disk)

    async def _download(self) -> None:
        pool = self._deps.pool
        await in_thread(pool, self._prepare_volume)
        lease = self._folder_lease()
        if sentence := await in_thread(pool, lease.acquire):
            raise RetryLater(StagingReason.STAGED_BY_OTHER, sentence, after=SETTLE)
        self._lease = lease
        try:
            await self._download_with_lease()
        finally:
            self._lease = None
            with suppress(OSError):
                await in_thread(pool, lease.release)

    def _prepare_volume(self) -> None:
        weights = self.folder.parent
        self._deps.disk.make_folder(weights)
        mark_used(weights, holder=self._pod.holder, disk=self._deps.disk)
        if self._bytes_needed:
            find_evictions(self._bytes_needed, pod=self._pod, deps=self._deps, protected=self._protected)

    async def _download_with_lease(self) -> None:
        disk, pool = self._deps.disk, self._deps.pool
        # A folder that is there now is damaged, or was published since this attempt looked.
        if self.folder.is_dir() and not await self._is_staged():
            await in_thread(pool, disk.remove, self.folder)
        if not self.folder.is_dir():
            await Download(
                self._item, pod=self._pod, deps=self._deps, progress=self._progress, protected=self._protected
            ).run()
            self.files = await in_thread(pool, fingerprint, self.folder)

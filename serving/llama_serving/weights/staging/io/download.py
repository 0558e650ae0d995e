"""The download of weights that are not in the pod: from their source into a folder of this stage."""

from collections.abc import Collection
from pathlib import Path

from llama_serving.common.concurrency import in_thread, map_concurrently
from llama_serving.weights.staging.decide.artifact import Artifact, is_adapter, layers_of
from llama_serving.weights.staging.decide.errors import disk_full
from llama_serving.weights.staging.decide.eviction import plan_eviction
from llama_serving.weights.staging.decide.expected import expected_at_source
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.stage_share import StageShare
from llama_serving.weights.staging.dependencies import STREAMS, StagePod, StagerDependencies, staged_folder
from llama_serving.weights.staging.io.fetch import Fetcher
from llama_serving.weights.staging.io.headers import check_sizes, read_stage_share
from llama_serving.weights.staging.io.partial_folder import JournalEntry, PartialFolder
from llama_serving.weights.staging.io.source_reader import SourceReader
from llama_serving.weights.staging.io.volume import WeightsVolume


class Download:
    """Downloads one stage share; ``protected`` are names of folders that are never removed to free space."""

    def __init__(
        self,
        item: Artifact,
        *,
        pod: StagePod,
        deps: StagerDependencies,
        progress: StagingProgress,
        protected: Collection[str],
    ) -> None:
        self._item = item
        self._pod = pod
        self._deps = deps
        self._progress = progress
        self._protected = protected
        self._target = staged_folder(item, pod)

    async def run(self) -> None:
        """Publish the folder, with what is there already. Raises StagingRefused, OSError and the source's failures."""
        self._progress.begin("listing the files of the source")
        source = self._deps.open_source(
            self._item.source, revision=self._item.revision, credentials=self._pod.credentials
        )
        try:
            reader = SourceReader(source, progress=self._progress, retry=self._deps.retry)
            expected = expected_at_source(self._item.manifest, every_file=is_adapter(self._item))
            await check_sizes(reader, expected)
            share = await read_stage_share(reader, expected, pod=self._pod, layers=layers_of(self._item))
            await self._fill(PartialFolder(self._target, share, disk=self._deps.disk), share, reader)
        finally:
            await source.close()

    async def _fill(self, partial: PartialFolder, share: StageShare, reader: SourceReader) -> None:
        await self._recover(partial, share)
        await in_thread(self._deps.pool, self._free_space, share.bytes_left(partial.done))
        await in_thread(self._deps.pool, partial.prepare)
        total = share.needed_bytes
        self._progress.begin("downloading", total=total, done=total - share.bytes_left(partial.done), under_way=True)
        try:
            fetcher = Fetcher(
                reader, partial, progress=self._progress, pool=self._deps.pool, before_request=self._check_space
            )
            await fetcher.run(share.read_requests(partial.done, ranged=reader.ranged))
        finally:
            partial.close()
        self._progress.begin("writing to the disk", total=total, done=total, under_way=True)
        await self._publish(partial)

    async def _recover(self, partial: PartialFolder, share: StageShare) -> None:
        """Verify and keep what an earlier attempt finished."""
        self._progress.begin("verifying what is there", total=share.needed_bytes)

        async def recover(entry: JournalEntry) -> None:
            self._progress.advance(await in_thread(self._deps.pool, partial.recover, entry))

        await map_concurrently(recover, partial.journal_entries(), limit=STREAMS)

    async def _publish(self, partial: PartialFolder) -> None:
        pool, manifest = self._deps.pool, self._item.manifest

        async def sync(path: Path) -> None:
            await in_thread(pool, self._deps.disk.sync, path)

        files = await in_thread(
            pool, lambda: partial.complete(manifest, pod=self._pod, with_index=not is_adapter(self._item))
        )
        # Each file is a call of its own, so that a stop need not wait for all of them.
        await map_concurrently(sync, files, limit=STREAMS)
        await in_thread(pool, partial.publish)

    def _free_space(self, needed: int) -> None:
        """Remove old weights until ``needed`` bytes fit. Raises StagingRefused when removing all is not enough."""
        for name in find_evictions(needed, pod=self._pod, deps=self._deps, protected=self._protected):
            WeightsVolume(self._pod.mount, holder=self._pod.holder, disk=self._deps.disk).remove(name)

    def _check_space(self) -> None:
        """Check that what is left to come still fits: others write to the volume too. Raises StagingRefused."""
        left = self._progress.total - self._progress.done
        plan = plan_eviction(needed=left, space=self._deps.disk.space(self._pod.mount), candidates=(), wanted=0)
        if plan.refusal:
            raise disk_full(plan.refusal, bytes_needed=left)


def find_evictions(
    needed: int, *, pod: StagePod, deps: StagerDependencies, protected: Collection[str]
) -> tuple[str, ...]:
    """Return which old weights must go for ``needed`` bytes. Blocks.

    Raises StagingRefused when removing all of them is not enough.
    """
    volume = WeightsVolume(pod.mount, holder=pod.holder, disk=deps.disk)
    plan = plan_eviction(
        needed=needed,
        space=deps.disk.space(pod.mount),
        candidates=volume.eviction_candidates(protected),
        wanted=volume.count_wanted(protected),
    )
    if plan.refusal:
        raise disk_full(plan.refusal, bytes_needed=needed)
    return plan.remove

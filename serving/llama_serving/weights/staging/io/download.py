"""Weights that are not in the pod: from the source into a folder of this stage's own."""

from collections.abc import Collection
from pathlib import Path

from llama_serving.config.desired import WeightsArtifact
from llama_serving.weights.staging.decide.errors import full
from llama_serving.weights.staging.decide.eviction import make_room
from llama_serving.weights.staging.decide.expected import at_source
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.decide.stage_share import Share
from llama_serving.weights.staging.io.concurrency import each, in_thread
from llama_serving.weights.staging.io.fetch import Fetch
from llama_serving.weights.staging.io.headers import check_sizes, survey
from llama_serving.weights.staging.io.partial_folder import Finished, Workspace
from llama_serving.weights.staging.io.source_reader import Reader
from llama_serving.weights.staging.io.volume import Shelf
from llama_serving.weights.staging.ports import Site, Tools


class Bringing:
    """Brings one share; ``protected`` are names of folders that are never removed to make room."""

    def __init__(
        self, item: WeightsArtifact, *, site: Site, tools: Tools, gauge: Gauge, protected: Collection[str]
    ) -> None:
        self._item = item
        self._site = site
        self._tools = tools
        self._gauge = gauge
        self._protected = protected
        self._target = site.target(item.weights.digest)

    async def run(self) -> None:
        """From what is there to a published folder. Raises Refused, OSError, and what a source raises."""
        self._gauge.begin("looking at the source")
        source = self._tools.open_source(
            self._item.source, revision=self._item.revision, credentials=self._site.credentials
        )
        try:
            reader = Reader(source, gauge=self._gauge, patience=self._tools.patience)
            expected = at_source(self._item.manifest)
            await check_sizes(reader, expected)
            share = await survey(reader, expected, stage=self._site.stage, stages=self._site.stages)
            await self._fill(Workspace(self._target, share, disk=self._tools.disk), share, reader)
        finally:
            await source.close()

    async def _fill(self, work: Workspace, share: Share, reader: Reader) -> None:
        await self._recover(work, share)
        await in_thread(self._tools.pool, self._make_room, share.left(work.done))
        await in_thread(self._tools.pool, work.prepare)
        done = share.needed - share.left(work.done)
        self._gauge.begin("downloading", total=share.needed, done=done, under_way=True)
        try:
            fetch = Fetch(reader, work, gauge=self._gauge, pool=self._tools.pool, check=self._check_room)
            await fetch.run(share.reads(work.done, ranged=reader.ranged))
        finally:
            work.close()
        self._gauge.begin("writing to the disk", total=share.needed, done=share.needed, under_way=True)
        await self._publish(work)

    async def _recover(self, work: Workspace, share: Share) -> None:
        """Take over what an earlier attempt finished."""
        self._gauge.begin("verifying what is there", total=share.needed)

        async def recover(entry: Finished) -> None:
            self._gauge.advance(await in_thread(self._tools.pool, work.recover, entry))

        await each(work.finished_before(), recover)

    async def _publish(self, work: Workspace) -> None:
        pool, site = self._tools.pool, self._site

        async def sync(path: Path) -> None:
            await in_thread(pool, self._tools.disk.sync, path)

        files = await in_thread(pool, lambda: work.seal(self._item.manifest, stage=site.stage, stages=site.stages))
        await each(files, sync)  # one by one, so that a stop need not wait for all of them
        await in_thread(pool, work.publish)

    def _make_room(self, needed: int) -> None:
        """Remove old weights where room is needed. Raises Refused when all of them would not be enough."""
        for name in check_room(needed, site=self._site, tools=self._tools, protected=self._protected):
            Shelf(self._site.mount, holder=self._site.holder, disk=self._tools.disk).remove(name)

    def _check_room(self) -> None:
        """Others write to the volume too: what is left to come must still fit."""
        left = self._gauge.total - self._gauge.done
        verdict = make_room(needed=left, space=self._tools.disk.space(self._site.mount), old=(), wanted=0)
        if verdict.refusal:
            raise full(verdict.refusal, room=left)


def check_room(needed: int, *, site: Site, tools: Tools, protected: Collection[str]) -> tuple[str, ...]:
    """Blocks. Which old weights must go for ``needed`` bytes. Raises Refused when all of them are not enough."""
    shelf = Shelf(site.mount, holder=site.holder, disk=tools.disk)
    verdict = make_room(
        needed=needed,
        space=tools.disk.space(site.mount),
        old=shelf.old(protected),
        wanted=shelf.kept(protected),
    )
    if verdict.refusal:
        raise full(verdict.refusal, room=needed)
    return verdict.remove

"""One try to make some weights ready on this stage: by verifying what lies there, or by bringing them.

====================================  ==================================================================
where the weights lie                 what is done
====================================  ==================================================================
a claim that is mounted (``pvc://``)  verified in place; the engine reads them there
in their folder on our volume         verified: the disk may have changed since; damaged ones are removed
nowhere, or in a begun folder         brought, by one pod at a time where several share the volume
====================================  ==================================================================
"""

import errno
import logging
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.config.desired import StagingReason, WeightsArtifact
from llama_serving.config.source import is_mounted
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.source.interface import Broken, Busy, Denied, Gone
from llama_serving.weights.staging.decide.errors import NotYet, Refused, differs, full, unreadable
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.io.concurrency import in_thread
from llama_serving.weights.staging.io.download import Bringing, check_room
from llama_serving.weights.staging.io.lease import SETTLE, Lease, mark
from llama_serving.weights.staging.io.partial_folder import journal_of
from llama_serving.weights.staging.io.verify import fingerprint, verify_mounted, verify_staged
from llama_serving.weights.staging.ports import Site, Tools

logger = logging.getLogger("llama_serving.stager")

_PAUSE: Final = 30.0  # seconds before a source is tried again whose troubles outlasted an attempt's patience
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Verified:
    """Files that were found right once; the same files are believed."""

    files: Hashable  # their fingerprint
    bytes: int  # that the stage needs of them


class Attempt:
    """Makes one item of a wish ready. ``folder`` is where its files are or will be; ``known`` what was found there.

    ``room`` are the bytes that the last attempt had no room for: they are looked for before anything else.
    """

    def __init__(
        self,
        item: WeightsArtifact,
        *,
        site: Site,
        tools: Tools,
        gauge: Gauge,
        protected: Collection[str],
        known: Verified | None = None,
        room: int = 0,
    ) -> None:
        self._item = item
        self._site = site
        self._tools = tools
        self._gauge = gauge
        self._protected = protected
        self._known = known
        self._room = room
        self._lease: Lease | None = None
        self.folder = folder_of(item, site)
        self.files: Hashable = None  # fingerprint of the folder that was judged; None where nothing was

    async def run(self) -> None:
        """Return when they are ready. Raises Refused and NotYet."""
        item = self._item
        with _verdicts():
            if item.weights.digest != item.manifest.digest:
                raise differs(f"the manifest has digest {item.manifest.digest}, wanted are {item.weights.digest}")
            before = await in_thread(self._tools.pool, fingerprint, self.folder)
            if self._known and before is not None and before == self._known.files:
                self.files = before
                self._gauge.begin("verified", total=self._known.bytes, done=self._known.bytes)
            elif is_mounted(item.source):
                self.files = before
                await verify_mounted(self.folder, item.manifest, site=self._site, tools=self._tools, gauge=self._gauge)
            elif await self._is_staged():
                await in_thread(self._tools.pool, self._sweep)
            else:
                await self._bring()

    def beat(self) -> bool:
        """Blocks. Show other pods that this one is at it; False when another one took the work over."""
        lease = self._lease
        # The attempt may have given the lease back while we looked.
        return lease is None or lease.beat() or self._lease is None

    async def _is_staged(self) -> bool:
        before = await in_thread(self._tools.pool, fingerprint, self.folder)
        if before is None:
            return False
        try:
            await verify_staged(self.folder, self._item.manifest, site=self._site, tools=self._tools, gauge=self._gauge)
        except (Refused, RefusedError, Gone) as error:
            logger.warning("%s is damaged and is brought again: %s", self.folder, error)
            return False
        self.files = before
        return True

    def _sweep(self) -> None:
        """Remove what is left of an attempt that was killed between publishing and its end."""
        lease = self._lease_of_folder()
        if lease.is_ours():
            self._tools.disk.remove(journal_of(self.folder))
            lease.release()

    def _check_room(self) -> None:
        check_room(self._room, site=self._site, tools=self._tools, protected=self._protected)

    def _lease_of_folder(self) -> Lease:
        return Lease(self.folder, holder=self._site.holder, disk=self._tools.disk)

    async def _bring(self) -> None:
        disk, pool = self._tools.disk, self._tools.pool
        weights = self.folder.parent
        await in_thread(pool, disk.make_folder, weights)
        await in_thread(pool, lambda: mark(weights, holder=self._site.holder, disk=disk))
        if self._room:
            await in_thread(pool, self._check_room)
        lease = self._lease_of_folder()
        if sentence := await in_thread(pool, lease.acquire):
            raise NotYet(StagingReason.STAGED_BY_OTHER, sentence, after=SETTLE)
        self._lease = lease
        try:
            # Whatever is there now is damaged, or was published since we looked.
            if self.folder.is_dir() and not await self._is_staged():
                await in_thread(pool, disk.remove, self.folder)
            if not self.folder.is_dir():
                await Bringing(
                    self._item, site=self._site, tools=self._tools, gauge=self._gauge, protected=self._protected
                ).run()
                self.files = await in_thread(pool, fingerprint, self.folder)
        finally:
            self._lease = None
            with suppress(OSError):
                await in_thread(pool, lease.release)


def folder_of(item: WeightsArtifact, site: Site) -> Path:
    """Where the engine of this stage finds the files."""
    return Path(item.weights.path) if is_mounted(item.source) else site.target(item.weights.digest)


@contextmanager
def _verdicts() -> Iterator[None]:
    """What an edge says, in the words of an attempt."""
    try:
        yield
    except RefusedError as error:
        raise unreadable(error.message) from error
    except Denied as error:
        raise Refused(StagingReason.WEIGHTS_DENIED, str(error)) from error
    except Gone as error:
        raise Refused(StagingReason.WEIGHTS_GONE, str(error)) from error
    except Busy as error:
        raise NotYet(StagingReason.WEIGHTS_BUSY, str(error), after=max(error.after or 0, _PAUSE)) from error
    except Broken as error:
        raise NotYet(StagingReason.WEIGHTS_BROKEN, str(error), after=_PAUSE) from error
    except OSError as error:
        raise _of_the_volume(error) from error


def _of_the_volume(error: OSError) -> Refused | NotYet:
    where = error.filename or "the volume of the weights"
    if error.errno in _FULL:
        return full(f"{where} is full ({error.strerror}): make it larger", room=0)
    return NotYet(StagingReason.WEIGHTS_BROKEN, f"{where} cannot be used: {error.strerror or error}", after=10.0)

"""Reads a source with retries, and counts the bytes that come."""

from collections.abc import AsyncIterator
from dataclasses import replace

from llama_serving.config.reasons import StagingReason
from llama_serving.weights.source.interface import Broken, Busy, ListedFile, Source
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries, with_retries
from llama_serving.weights.staging.decide.progress import StagingProgress


class SourceReader:
    """Reads one source for one attempt. Raises a source's failures, Busy and Broken after the deadline."""

    def __init__(self, source: Source, *, progress: StagingProgress, retry: RetryPolicy) -> None:
        self._source = _CountedSource(source, progress)
        self._retry = replace(retry, notify=progress.set_waiting)

    @property
    def ranged(self) -> bool:
        """Whether a read can begin anywhere; an HTTP server says so with its listing."""
        return self._source.ranged

    async def list(self) -> tuple[ListedFile, ...]:
        """Return all files of the folder."""
        return await with_retries(self._source.list, self._retry)

    def pieces(self, file: str, *, begin: int, end: int) -> AsyncIterator[bytes]:
        """Yield bytes ``[begin, end)``, without a gap or a repeat."""
        return read_with_retries(self._source, file, begin=begin, end=end, retry=self._retry)

    async def bytes(self, file: str, *, begin: int, end: int) -> bytes:
        """Return bytes ``[begin, end)`` at once; for small files."""
        return b"".join([piece async for piece in self.pieces(file, begin=begin, end=end)])


class _CountedSource:
    """A source that notes in ``progress`` what came and what failed."""

    def __init__(self, source: Source, progress: StagingProgress) -> None:
        self._source = source
        self._progress = progress
        self.ranged = source.ranged

    async def resolve(self) -> str:
        return await self._source.resolve()

    async def list(self) -> tuple[ListedFile, ...]:
        try:
            listed = await self._source.list()
            self.ranged = self._source.ranged
            return listed
        except (Busy, Broken) as error:
            self._note(error)
            raise

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        came = begin
        try:
            async for piece in self._source.read(path, begin=begin, end=end):
                kept = piece if end is None else piece[: end - came]
                self._progress.add_read(len(piece))
                came += len(kept)
                yield kept
            if end is not None and came < end:
                raise Broken(f"{path} ended at byte {came}, {end} were promised")
        except (Busy, Broken) as error:
            self._note(error)
            raise
        finally:
            if not self.ranged:
                self._progress.read += begin  # the source was read from its start

    async def close(self) -> None:
        await self._source.close()

    def _note(self, error: Busy | Broken) -> None:
        busy = isinstance(error, Busy)
        self._progress.last_failure = StagingReason.WEIGHTS_BUSY if busy else StagingReason.WEIGHTS_BROKEN

"""A source whose bytes are counted and whose passing troubles are waited for."""

from collections.abc import AsyncIterator
from dataclasses import replace

from llama_serving.config.reasons import StagingReason
from llama_serving.weights.source.interface import Broken, Busy, Listed, Source
from llama_serving.weights.source.retry import Patience, patiently, read_patiently
from llama_serving.weights.staging.decide.progress import Gauge


class Reader:
    """Reads one source for one attempt. Raises what a Source raises, Busy and Broken when patience is at its end."""

    def __init__(self, source: Source, *, gauge: Gauge, patience: Patience) -> None:
        self._source = _Counted(source, gauge)
        self._patience = replace(patience, tell=gauge.wait)

    @property
    def ranged(self) -> bool:
        """Whether a read can begin anywhere; an HTTP server says so with its listing."""
        return self._source.ranged

    async def list(self) -> tuple[Listed, ...]:
        """All files of the folder."""
        return await patiently(self._source.list, self._patience)

    def pieces(self, file: str, *, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes ``[begin, end)``, without a gap or a repeat."""
        return read_patiently(self._source, file, begin=begin, end=end, patience=self._patience)

    async def bytes(self, file: str, *, begin: int, end: int) -> bytes:
        """Bytes ``[begin, end)`` at once; for small ones."""
        return b"".join([piece async for piece in self.pieces(file, begin=begin, end=end)])


class _Counted:
    """A source that tells the gauge what came and what went wrong."""

    def __init__(self, source: Source, gauge: Gauge) -> None:
        self._source = source
        self._gauge = gauge
        self.ranged = source.ranged

    async def resolve(self) -> str:
        return await self._source.resolve()

    async def list(self) -> tuple[Listed, ...]:
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
                self._gauge.came(len(piece))
                came += len(kept)
                yield kept
            if end is not None and came < end:
                raise Broken(f"{path} ended at byte {came}, {end} were promised")
        except (Busy, Broken) as error:
            self._note(error)
            raise
        finally:
            if not self.ranged:
                self._gauge.read += begin  # it had to be read over

    async def close(self) -> None:
        await self._source.close()

    def _note(self, error: Busy | Broken) -> None:
        busy = isinstance(error, Busy)
        self._gauge.trouble = StagingReason.WEIGHTS_BUSY if busy else StagingReason.WEIGHTS_BROKEN

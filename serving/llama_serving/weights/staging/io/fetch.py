"""Reads requests from a source into a sink, several at a time, and verifies every part while it passes.

A part whose sha256 differs is read once more (a bit that flipped on the wire heals); when it differs again the source
has other bytes than the manifest says, and the weights are refused. At most ``BATCH`` and a piece of the source are
held per stream.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Final, Protocol

from llama_serving.common.concurrency import in_thread, map_concurrently
from llama_serving.weights.staging.decide.errors import digest_differs
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.ranges import HEADER, WHOLE, FilePart, ReadRequest, read_part_again
from llama_serving.weights.staging.dependencies import STREAMS
from llama_serving.weights.staging.io.source_reader import SourceReader

BATCH: Final = 1 << 20


class Sink(Protocol):
    """Where verified bytes go. Called in threads, for different parts at the same time."""

    def write(self, file: str, part: FilePart, data: memoryview, *, offset: int) -> None:
        """Write bytes of a part, ``offset`` bytes after its begin."""

    def finished(self, file: str, part: FilePart) -> None:
        """Note that all bytes of a part were written, and that its ``sha256`` is verified."""


class DiscardSink:
    """The sink of those who only verify."""

    def write(self, file: str, part: FilePart, data: memoryview, *, offset: int) -> None:
        """Keep nothing."""

    def finished(self, file: str, part: FilePart) -> None:
        """Keep nothing."""


class Fetcher:
    """Reads requests. ``before_request`` is called before each; what it raises ends the fetch."""

    def __init__(
        self,
        reader: SourceReader,
        sink: Sink,
        *,
        progress: StagingProgress,
        pool: Executor,
        before_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._progress = progress
        self._pool = pool
        self._before_request = before_request

    async def run(self, requests: Iterable[ReadRequest]) -> None:
        """Read all requests. Raises StagingRefused, and what the source raises."""
        await map_concurrently(self._fetch, requests, limit=STREAMS)

    async def _fetch(self, request: ReadRequest) -> None:
        first = await self._read(request)
        for second in first.requests_again():
            self._progress.advance(-sum(progress_bytes(part) for part in second.parts))
            if mismatches := (await self._read(second)).mismatches:
                raise digest_differs(f"{mismatches[0]}, twice in a row: the source has other weights, or damaged ones")

    async def _read(self, request: ReadRequest) -> "_VerifiedPass":
        self._before_request()
        verified = _VerifiedPass(request, self._sink)
        batch: list[bytes] = []
        held = 0
        if request.begin < request.end:
            async for piece in self._reader.pieces(request.file, begin=request.begin, end=request.end):
                batch.append(piece)
                held += len(piece)
                if held >= BATCH:
                    self._progress.advance(await in_thread(self._pool, verified.feed, batch))
                    batch, held = [], 0
        self._progress.advance(await in_thread(self._pool, verified.feed, [*batch, b""]))
        await in_thread(self._pool, verified.end)
        return verified


def progress_bytes(part: FilePart) -> int:
    """Return the bytes of a part that count as progress: a header is not kept."""
    return 0 if part.tensor == HEADER else part.size


class _VerifiedPass:
    """One pass over the bytes of a request: its hashes and its position."""

    def __init__(self, request: ReadRequest, sink: Sink) -> None:
        self._request = request
        self._sink = sink
        self._position = request.begin
        self._next = 0
        self._part_hash = hashlib.sha256()
        self._whole_hash = hashlib.sha256() if request.sha256 else None
        self._verified: list[FilePart] = []
        self._damaged: list[FilePart] = []
        self.mismatches: list[str] = []  # clauses

    def feed(self, pieces: list[bytes]) -> int:
        """Pass on the next bytes; return how many of them are needed."""
        return sum(self._feed(memoryview(piece)) for piece in pieces)

    def end(self) -> None:
        """Judge the whole file after its last byte, where the request is verified as a whole."""
        if self._whole_hash is None:
            return
        digest = self._whole_hash.hexdigest()
        if digest != self._request.sha256:
            self.mismatches.insert(0, _mismatch(self._request.file, WHOLE, found=digest, wanted=self._request.sha256))
        elif not self.mismatches:
            for part in self._verified:
                self._sink.finished(self._request.file, part)

    def requests_again(self) -> list[ReadRequest]:
        """Return the requests for what came damaged."""
        if not self.mismatches:
            return []
        if self._whole_hash is not None:
            return [self._request]
        return [read_part_again(self._request, part) for part in self._damaged]

    def _feed(self, piece: memoryview) -> int:
        if self._whole_hash is not None:
            self._whole_hash.update(piece)
        begin, end = self._position, self._position + len(piece)
        self._position = end
        used = 0
        while self._next < len(self._request.parts):
            part = self._request.parts[self._next]
            low, high = max(part.begin, begin), min(part.end, end)
            if low < high:
                data = piece[low - begin : high - begin]
                self._part_hash.update(data)
                self._sink.write(self._request.file, part, data, offset=low - part.begin)
                used += high - low if part.tensor != HEADER else 0
            if part.end > end:
                break
            self._end_part(part)
        return used

    def _end_part(self, part: FilePart) -> None:
        digest = self._part_hash.hexdigest()
        self._part_hash = hashlib.sha256()
        self._next += 1
        if part.sha256 and digest != part.sha256:
            self._damaged.append(part)
            self.mismatches.append(_mismatch(self._request.file, part.tensor, found=digest, wanted=part.sha256))
            return
        verified = FilePart(part.begin, part.end, part.tensor, digest)
        if self._whole_hash is None:
            self._sink.finished(self._request.file, verified)
        else:
            self._verified.append(verified)


def _mismatch(file: str, tensor: str, *, found: str, wanted: str) -> str:
    what = {WHOLE: file, HEADER: f"the header of {file}"}.get(tensor, f"tensor {tensor} of {file}")
    return f"{what} has sha256 {found}, the manifest says {wanted}"

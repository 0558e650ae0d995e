"""From a source into a sink, several requests at a time, every part verified while it passes.

A part whose sha256 differs is asked for once more (a bit that flipped on the wire heals); when it differs again the
source has other bytes than the manifest says, and the weights are refused. At most ``BATCH`` and a piece of the source
are held per stream.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Final, Protocol

from llama_serving.weights.staging.decide.errors import differs
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.decide.ranges import HEADER, WHOLE, Part, Read, again
from llama_serving.weights.staging.io.concurrency import each, in_thread
from llama_serving.weights.staging.io.source_reader import Reader

BATCH: Final = 1 << 20


class Sink(Protocol):
    """Where verified bytes go. Called in threads, for different parts at the same time."""

    def write(self, file: str, part: Part, data: memoryview, *, offset: int) -> None:
        """Bytes of a part, ``offset`` bytes after its begin."""

    def finished(self, file: str, part: Part) -> None:
        """All bytes of a part were written, and its ``sha256`` is verified."""


class Nowhere:
    """The sink of those who only verify."""

    def write(self, file: str, part: Part, data: memoryview, *, offset: int) -> None:
        """Nothing is kept."""

    def finished(self, file: str, part: Part) -> None:
        """Nothing is kept."""


class Fetch:
    """Brings requests. ``check`` is called before each; what it raises ends the fetch."""

    def __init__(
        self, reader: Reader, sink: Sink, *, gauge: Gauge, pool: Executor, check: Callable[[], None] = lambda: None
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._gauge = gauge
        self._pool = pool
        self._check = check

    async def run(self, reads: Iterable[Read]) -> None:
        """All of them. Raises Refused, and what the source raises."""
        await each(reads, self._bring)

    async def _bring(self, read: Read) -> None:
        first = await self._take(read)
        for second in first.once_more():
            self._gauge.advance(-sum(needed(part) for part in second.parts))
            if wrong := (await self._take(second)).wrong:
                raise differs(f"{wrong[0]}, twice in a row: the source has other weights, or damaged ones")

    async def _take(self, read: Read) -> "_Take":
        self._check()
        take = _Take(read, self._sink)
        batch: list[bytes] = []
        held = 0
        if read.begin < read.end:
            async for piece in self._reader.pieces(read.file, begin=read.begin, end=read.end):
                batch.append(piece)
                held += len(piece)
                if held >= BATCH:
                    self._gauge.advance(await in_thread(self._pool, take.feed, batch))
                    batch, held = [], 0
        self._gauge.advance(await in_thread(self._pool, take.feed, [*batch, b""]))
        await in_thread(self._pool, take.end)
        return take


def needed(part: Part) -> int:
    """Bytes that count as progress: a header does not stay."""
    return 0 if part.tensor == HEADER else part.size


class _Take:
    """One pass over the bytes of a request: hashes, and where the pass is."""

    def __init__(self, read: Read, sink: Sink) -> None:
        self._read = read
        self._sink = sink
        self._position = read.begin
        self._next = 0
        self._part = hashlib.sha256()
        self._whole = hashlib.sha256() if read.sha256 else None
        self._right: list[Part] = []
        self._wrong: list[Part] = []
        self.wrong: list[str] = []  # sentences

    def feed(self, pieces: list[bytes]) -> int:
        """Pass on the next bytes; returns how many of them are needed."""
        return sum(self._feed(memoryview(piece)) for piece in pieces)

    def end(self) -> None:
        """All bytes came."""
        if self._whole is not None and self._whole.hexdigest() != self._read.sha256:
            self.wrong.insert(0, _differs(self._read.file, "", self._whole.hexdigest(), self._read.sha256))
            return
        if self._whole is not None and not self.wrong:
            for part in self._right:
                self._sink.finished(self._read.file, part)

    def once_more(self) -> list[Read]:
        """What has to be asked for again."""
        if not self.wrong:
            return []
        return [self._read] if self._whole is not None else [again(self._read, part) for part in self._wrong]

    def _feed(self, piece: memoryview) -> int:
        if self._whole is not None:
            self._whole.update(piece)
        begin, end = self._position, self._position + len(piece)
        self._position = end
        used = 0
        while self._next < len(self._read.parts):
            part = self._read.parts[self._next]
            low, high = max(part.begin, begin), min(part.end, end)
            if low < high:
                data = piece[low - begin : high - begin]
                self._part.update(data)
                self._sink.write(self._read.file, part, data, offset=low - part.begin)
                used += high - low if part.tensor != HEADER else 0
            if part.end > end:
                break
            self._end_part(part)
        return used

    def _end_part(self, part: Part) -> None:
        digest = self._part.hexdigest()
        self._part = hashlib.sha256()
        self._next += 1
        if part.sha256 and digest != part.sha256:
            self._wrong.append(part)
            self.wrong.append(_differs(self._read.file, part.tensor, digest, part.sha256))
            return
        verified = Part(part.begin, part.end, part.tensor, digest)
        if self._whole is None:
            self._sink.finished(self._read.file, verified)
        else:
            self._right.append(verified)


def _differs(file: str, tensor: str, found: str, wanted: str) -> str:
    what = {WHOLE: file, HEADER: f"the header of {file}"}.get(tensor, f"tensor {tensor} of {file}")
    return f"{what} has sha256 {found}, the manifest says {wanted}"

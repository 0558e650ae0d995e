"""sha256 of a safetensors file, of its header and of each tensor, all in one pass over its bytes.

The bytes come in pieces of any size. Whole file and parts are hashed in two threads at once: hashlib lets go of the
interpreter, and reading goes on meanwhile. No more than two batches of a MiB are held of a file.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llama_serving.weights.model.safetensors import Header

if TYPE_CHECKING:
    from hashlib import _Hash

_BATCH: Final = 1 << 20


@dataclass(frozen=True)
class FileDigests:
    """Hexadecimal sha256."""

    file: str
    header: str
    tensors: dict[str, str]


class PartHasher:
    """Hashes of the header and of each tensor: parts without a gap between them, as ``model.safetensors`` checks."""

    def __init__(self, header: Header) -> None:
        tensors = sorted(header.tensors.items(), key=lambda item: (item[1].begin, item[1].end))
        self._ends = [("", header.length), *((name, header.length + tensor.end) for name, tensor in tensors)]
        self._at = 0
        self._position = 0
        self._hashes: list[_Hash] = [hashlib.sha256() for _ in self._ends]

    def update(self, piece: bytes) -> None:
        """Hash the next bytes of the file."""
        view = memoryview(piece)
        while view and self._at < len(self._ends):
            taken = view[: self._ends[self._at][1] - self._position]
            self._hashes[self._at].update(taken)
            self._position += len(taken)
            view = view[len(taken) :]
            if self._position == self._ends[self._at][1]:
                self._at += 1

    def digests(self) -> tuple[str, dict[str, str]]:
        """Return the sha256 of the header, and of each tensor by name."""
        found = [digest.hexdigest() for digest in self._hashes]
        return found[0], {name: digest for (name, _), digest in zip(self._ends[1:], found[1:], strict=True)}


async def digest_file(pieces: AsyncIterator[bytes], header: Header) -> FileDigests:
    """Hash what comes. Raises what ``pieces`` raises."""
    whole, parts = hashlib.sha256(), PartHasher(header)
    running: asyncio.Future[tuple[None, None]] | None = None
    try:
        async for batch in _batches(pieces):
            if running:
                await running
            running = asyncio.gather(
                asyncio.to_thread(_feed, whole.update, batch), asyncio.to_thread(_feed, parts.update, batch)
            )
    finally:
        if running:
            await running
    of_header, tensors = parts.digests()
    return FileDigests(whole.hexdigest(), of_header, tensors)


async def _batches(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield pieces in lists of about a MiB: handing a piece to a thread costs as much as hashing 100 kB."""
    batch: list[bytes] = []
    size = 0
    async for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _feed(update: Callable[[bytes], object], batch: list[bytes]) -> None:
    for piece in batch:
        update(piece)

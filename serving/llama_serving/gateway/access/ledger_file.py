"""Keeps the ledger: rows become readable when they are on disk, and are read again after the end of the process.

Two files take turns: when one has ``MOST_BYTES``, the other is begun anew. A row that was torn by a crash is cut off.
Without a folder rows are kept in memory alone; the log says so once.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from llama_serving.config.access.ledger import MOST_BYTES, PERIOD
from llama_serving.gateway.access.pure.books import Kept, Period, line_of, read_line
from llama_serving.gateway.telemetry.log import LOGGER, fields

_NAMES: Final = ("ledger-0.jsonl", "ledger-1.jsonl")
_LONGEST_LINE: Final = 4096
_Rows = tuple[list[tuple[int, bytes]], int]


class LedgerFile:
    """The rows of one gateway; ``folder``: None where there is no disk for them."""

    def __init__(self, folder: Path | None, *, gateway: str, wall: Callable[[], float]) -> None:
        self.kept = Kept()
        self.lost = 0  # rows that could not be written and are in memory alone
        self._gateway = gateway
        self._wall = wall
        self._folder = folder
        self._file: BinaryIO | None = None
        self._turn = 0

    def open(self) -> None:
        """Read what is there, and be ready to write."""
        if self._folder is None:
            return
        try:
            files = [_read(self._folder / name) for name in _NAMES]
            self._turn = int(_last(files[1]) > _last(files[0]))
            for rows, _ in (files[1 - self._turn], files[self._turn]):
                for seq, line in rows:
                    self.kept.add(seq, line)
            self._file = _writable(self._folder / _NAMES[self._turn], files[self._turn][1])
        except OSError as error:
            self._folder = None
            LOGGER.warning("the ledger is in memory alone: its folder cannot be used", extra=fields(reason=str(error)))

    async def run(self, period: Period) -> None:
        """Write what has ended, until cancelled; then once more."""
        pending: asyncio.Future[None] | None = None
        try:
            while True:
                await asyncio.sleep(PERIOD)
                pending = asyncio.ensure_future(self.write(period))
                await asyncio.shield(pending)  # what is being written must be known as written
        finally:
            if pending is not None:
                await pending
            await self.write(period)
            self.close()

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def write(self, period: Period) -> None:
        """Make rows of what has ended, and store them."""
        rows = period.close(last=self.kept.last, time=self._wall(), gateway=self._gateway)
        if not rows:
            return
        lines = [line_of(row) for row in rows]
        on_disk = await asyncio.to_thread(self._append, lines)
        self.lost += 0 if on_disk else len(lines)
        for row, line in zip(rows, lines, strict=True):
            self.kept.add(row.seq, line)

    def _append(self, lines: list[bytes]) -> bool:
        """Write lines and wait until they are on disk; return False where they are not."""
        if self._file is None or self._folder is None:
            return False
        try:
            if self._file.tell() >= MOST_BYTES:
                self._file.close()
                self._turn = 1 - self._turn
                self._file = (self._folder / _NAMES[self._turn]).open("wb")
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            LOGGER.error("rows of the ledger could not be written", extra=fields(rows=len(lines), reason=str(error)))
            return False
        return True


def _read(path: Path) -> _Rows:
    """Return the rows of a file, and how many bytes of it are whole rows; nothing where there is no file."""
    rows: list[tuple[int, bytes]] = []
    good = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                row = read_line(line)
                if row is None:
                    break
                good += len(line)
                rows.append((row.seq, line))
    except FileNotFoundError:
        pass
    return rows, good


def _last(rows: _Rows) -> int:
    return rows[0][-1][0] if rows[0] else 0


def _writable(path: Path, good: int) -> BinaryIO:
    """Open a file at its end, without what is left of a torn row."""
    path.touch()
    file = path.open("r+b")
    file.truncate(good)
    file.seek(good)
    return file

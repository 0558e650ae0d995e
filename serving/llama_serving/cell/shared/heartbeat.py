"""The heartbeat of a rank: counters in shared memory that the rank writes and its stage's supervisor reads.

Neither Ray nor the engine is asked: what they would have to answer with may be what hangs. Writing costs a microsecond.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")
PREFIX: Final = "llama-rank-"

# Number of the write; process; steps; calls begun and ended; seconds of CLOCK_MONOTONIC of the last change; seconds of
# the longest call; name of the call; the number again. A write changes the last number first and the first one last, a
# reader reads forward: two equal numbers have one write between them.
_LAYOUT: Final = struct.Struct("=QQQQQdd24sQ")
_NUMBER: Final = struct.Struct("=Q")
_TRIES: Final = 5  # the writer is in the middle for a microsecond, unless it was stopped there


@dataclass(frozen=True)
class Heartbeat:
    """What a rank wrote last. ``changed`` is on the clock of ``time.monotonic``, the same for all of a machine."""

    rank: int
    pid: int
    step: int
    begun: int
    ended: int
    changed: float
    longest: float  # seconds of the longest measured call so far
    doing: str


class HeartbeatWriter:
    """Counts the calls of one rank in its file; one thread writes."""

    def __init__(self, rank: int, *, folder: Path = FOLDER) -> None:
        path = folder / f"{PREFIX}{rank}"
        fresh = path.with_name(f".{path.name}-{os.getpid()}")  # a process before this one may still write the old one
        fresh.write_bytes(bytes(_LAYOUT.size))
        with fresh.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._number = self._step = self._begun = self._ended = 0
        self._longest = 0.0
        self._changed = time.monotonic()
        self._write("")
        fresh.rename(path)

    def begin(self, call: str, *, is_step: bool = False) -> None:
        """Note that a call begins."""
        self._begun += 1
        self._step += is_step
        self._changed = time.monotonic()
        self._write(call)

    def end(self, call: str, *, is_measured: bool = True) -> None:
        """Note that the call has ended, however it ended."""
        now = time.monotonic()
        self._ended += 1
        if is_measured:
            self._longest = max(self._longest, now - self._changed)
        self._changed = now
        self._write(call)

    def _write(self, call: str) -> None:
        self._number += 1
        values = (os.getpid(), self._step, self._begun, self._ended, self._changed, self._longest, call.encode()[:24])
        raw = _LAYOUT.pack(self._number, *values, self._number)  # pack_into would write zeros first
        first, last = _NUMBER.size, _LAYOUT.size - _NUMBER.size
        self._memory[last:] = raw[last:]
        self._memory[first:last] = raw[first:last]
        self._memory[:first] = raw[:first]


def read_heartbeats(folder: Path = FOLDER) -> dict[int, Heartbeat]:
    """Return the heartbeat of each rank that has one in ``folder``, by rank."""
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith(PREFIX)]
    except OSError:
        return {}
    found = (_read(path) for path in paths)
    return {beat.rank: beat for beat in found if beat is not None}


def _read(path: Path) -> Heartbeat | None:
    for _ in range(_TRIES):
        try:
            rank, raw = int(path.name.removeprefix(PREFIX)), path.read_bytes()
            number, pid, step, begun, ended, changed, longest, doing, again = _LAYOUT.unpack(raw)
        except (OSError, ValueError, struct.error):  # gone, or not a heartbeat
            return None
        beat = Heartbeat(rank, pid, step, begun, ended, changed, longest, doing.rstrip(b"\0").decode(errors="replace"))
        if number == again:
            return beat
    return beat  # of a rank that was stopped while it wrote: as good as what it wrote before

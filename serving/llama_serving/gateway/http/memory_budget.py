"""How many bytes of request bodies and of running streams fit into the container.

The container's memory is divided: the process itself, then of the rest a half for bodies, answers and running streams
(here), a quarter for clients' connections (connections/limits.py), and a quarter for what is counted nowhere: buffers
of the kernel, what is parsed just now, and what the allocator has not given back.

Running streams may take half of the budget, and large bodies three quarters, so that small requests find memory too.
"""

from pathlib import Path
from typing import Final

#: Bytes that the process has before the first request.
PROCESS: Final = 64 << 20
#: Bodies above this count as large.
SMALL: Final = 64 << 10
_LEAST = 1 << 20
_WITHOUT_LIMIT = 1 << 30
_LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_limit(files: tuple[Path, ...] = _LIMIT_FILES) -> int | None:
    """Return the container's memory limit in bytes (cgroup 2, then 1); None where there is none."""
    for file in files:
        if file.exists():
            text = file.read_text(encoding="ascii").strip()
            # cgroup 1 says "no limit" with a number beyond any memory.
            return int(text) if text.isdigit() and int(text) < 1 << 60 else None
    return None


def body_budget(limit: int | None) -> int:
    """Return the bytes of request bodies that may be held under this memory limit."""
    if limit is None:
        return _WITHOUT_LIMIT
    return max((limit - PROCESS) // 2, _LEAST)


class MemoryBudget:
    """Bytes held now for request bodies, for answers and for running streams; ``limit`` is for all together.

    ``is_tight``: the process has nearly reached its limit whatever is counted; only small bodies are taken.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bodies = 0
        self.answers = 0
        self.streams = 0
        self.is_tight = False

    def has_room(self, more: int, *, of: int | None = None) -> bool:
        """Return whether ``more`` bytes may be held in addition; ``of``: the size of the body that they are part of."""
        is_large = (more if of is None else of) > SMALL
        if is_large and self.is_tight:
            return False
        limit = self.limit * 3 // 4 if is_large else self.limit
        return self.bodies + self.answers + self.streams + more <= limit

    def usage(self) -> str:
        """Say how full it is, as a clause."""
        return (
            f"{self.bodies} bytes of request bodies, {self.answers} of answers and {self.streams} of running streams, "
            f"limit {self.limit} bytes in total, three quarters of it for bodies of more than {SMALL} bytes"
        )

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes for a stream; return False when there are not so many."""
        if self.streams + size > self.limit // 2 or not self.has_room(size, of=0):
            return False
        self.streams += size
        return True

    def release(self, size: int) -> None:
        """Release ``size`` bytes that a stream has reserved."""
        self.streams -= size

    def reserve_answer(self, size: int) -> bool:
        """Reserve ``size`` bytes for an answer that is read before it is passed on; False: there are not so many."""
        if self.is_tight or self.answers + size > self.limit // 4 or not self.has_room(size, of=0):
            return False
        self.answers += size
        return True

    def release_answer(self, size: int) -> None:
        """Release ``size`` bytes that an answer has reserved."""
        self.answers -= size

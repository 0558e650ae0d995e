"""How many bytes of request bodies and of running streams fit into the container.

The budget is half of the memory limit less the process itself: while a body is sent, the part that the engine has not
taken yet exists a second time, in the socket's buffer. Running streams may take half of the budget, so that requests
find memory too.
"""

from pathlib import Path

_PROCESS = 64 << 20
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
    return max((limit - _PROCESS) // 2, _LEAST)


class MemoryBudget:
    """Bytes held now for request bodies and for running streams; ``limit`` is for both together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bodies = 0
        self.streams = 0

    def has_room(self, more: int) -> bool:
        """Return whether ``more`` bytes may be held in addition."""
        return self.bodies + self.streams + more <= self.limit

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes for a stream; return False when there are not so many."""
        if self.streams + size > self.limit // 2 or not self.has_room(size):
            return False
        self.streams += size
        return True

    def release(self, size: int) -> None:
        """Release ``size`` bytes that a stream has reserved."""
        self.streams -= size

"""How many bytes of request bodies and of running streams fit into the container.

Half of what the limit leaves beside the process itself: while a body is sent, what the engine has not taken yet is
there a second time, in the socket's buffer. Of that, running streams may take a half: requests must find room too.
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
    """What is held now, in bytes; ``limit`` for both together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bodies = 0
        self.streams = 0

    def has_room(self, more: int) -> bool:
        """Say whether so many bytes more may be held."""
        return self.bodies + self.streams + more <= self.limit

    def keep(self, size: int) -> bool:
        """Reserve room for a stream; False when there is none."""
        if self.streams + size > self.limit // 2 or not self.has_room(size):
            return False
        self.streams += size
        return True

    def free(self, size: int) -> None:
        """Give back what a stream has reserved."""
        self.streams -= size

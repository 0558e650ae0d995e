"""Processes of a pod as the machine of the test bed sees them: by the pod's uid in their cgroup."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of a container."""

    pid: int
    command: str  # as it calls itself now; Ray and vLLM rename theirs


def container_processes(pod_uid: str) -> list[Process]:
    """All processes of a pod's containers but the one that holds its network, lowest pid first."""
    mark = f"pod{pod_uid}"
    found = [Process(int(entry.name), _command(entry)) for entry in Path("/proc").glob("[0-9]*") if _in(entry, mark)]
    return sorted((p for p in found if p.command and p.command != "/pause"), key=lambda process: process.pid)


def _in(entry: Path, mark: str) -> bool:
    try:
        return mark in (entry / "cgroup").read_text()
    except OSError:  # it ended meanwhile
        return False


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""

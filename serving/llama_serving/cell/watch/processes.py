"""What the operating system says of the processes of this container: state, and what their threads did.

Everything is read from ``/proc``, which answers also while Ray, Serve and the engine do not.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.cell.policy.quiet import Effort

PROC: Final = Path("/proc")
STOPPED_STATES: Final = frozenset("Tt")  # by SIGSTOP, or by a debugger
GONE: Final = frozenset("ZX")  # ended; its parent has not asked for its exit code yet
_DISK: Final = "D"
_RUNNABLE: Final = "R"
_NANOSECONDS: Final = 1e9
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessStat:
    """One process at one moment; ``started`` tells it from a later one with the same id."""

    pid: int
    parent: int
    state: str  # one letter, man 5 proc_pid_stat
    started: int  # ticks since the machine started
    name: str  # of the program, 15 characters at most


def read_processes(proc: Path = PROC) -> dict[int, ProcessStat]:
    """Return all processes of this container, by id."""
    found = (_stat(entry) for entry in proc.iterdir() if entry.name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def read_process(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """Return one process; None where it is gone."""
    return _stat(proc / str(pid))


def descendants(processes: Mapping[int, ProcessStat], root: int) -> list[int]:
    """Return the ids of everything below ``root``."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def effort(pids: Iterable[int], proc: Path = PROC) -> Effort | None:
    """Return what all threads of these processes did so far; None where the system does not say."""
    seconds: dict[tuple[int, int], float] = {}
    runnable: set[tuple[int, int]] = set()
    on_disk = False
    for pid in pids:
        for task in _tasks(proc / str(pid)):
            stat = _stat(task)
            if stat is None:
                continue
            on_disk = on_disk or stat.state == _DISK
            if stat.state == _RUNNABLE:
                runnable.add((pid, stat.pid))
            seconds[pid, stat.pid] = _seconds(task)
    return Effort(seconds, frozenset(runnable), on_disk) if seconds else None


def seconds_run(pid: int, proc: Path = PROC) -> float:
    """Return the seconds that the first thread of a process has run or waited for a core."""
    return _seconds(proc / str(pid))


def command_line(pid: int, proc: Path = PROC) -> str:
    """Return the command line, or the title that the process gave itself; empty where it is gone."""
    with contextlib.suppress(OSError):
        raw = (proc / str(pid) / "cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def kill_process(process: ProcessStat) -> bool:
    """Send SIGKILL to exactly this process; return whether it was still there."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = _stat(PROC / str(process.pid))
        if now is None or now.started != process.started:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _tasks(process: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (process / "task").iterdir()


def _stat(entry: Path) -> ProcessStat | None:
    try:
        head, _, tail = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        pid, _, name = head.partition(" (")
        fields = tail.split()
        return ProcessStat(int(pid), int(fields[1]), fields[0], int(fields[19]), name)
    except (OSError, ValueError, IndexError):  # ended meanwhile
        return None


def _seconds(task: Path) -> float:
    """Return the seconds that a thread computed or waited for a core; without the kernel's word, those it computed."""
    try:
        computed, waited = (task / "schedstat").read_text(encoding="ascii").split()[:2]
        return (int(computed) + int(waited)) / _NANOSECONDS
    except (OSError, ValueError):
        pass
    try:
        fields = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0  # ended meanwhile

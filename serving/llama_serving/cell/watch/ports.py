"""What the watch needs of the operating system. Tests bring a fake machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llama_serving.cell.policy.quiet import Effort
from llama_serving.cell.shared.heartbeat import FOLDER, Heartbeat, read_heartbeats
from llama_serving.cell.watch.processes import (
    ProcessStat,
    command_line,
    effort,
    kill_process,
    read_processes,
    seconds_run,
)


class System(Protocol):
    """Processes and shared memory of this container."""

    def processes(self) -> Mapping[int, ProcessStat]:
        """Return all processes, by id."""

    def heartbeats(self) -> Mapping[int, Heartbeat]:
        """Return the heartbeat of each rank, by rank; a dead rank's stays."""

    def effort(self, pids: Iterable[int]) -> Effort | None:
        """Return what all threads of these processes did so far; None where the system does not tell."""

    def ran(self, pid: int) -> float:
        """Return the seconds that the first thread of a process has run or waited for a core."""

    def command_line(self, pid: int) -> str:
        """Return the command line, or the title, of a process; empty where it is gone."""

    def kill(self, process: ProcessStat) -> bool:
        """Send SIGKILL to exactly this process; return whether it was still there."""


@dataclass(frozen=True)
class Linux:
    """``/proc`` and ``/dev/shm`` of this container."""

    shared_memory: Path = FOLDER

    def processes(self) -> Mapping[int, ProcessStat]:
        """Read ``/proc``."""
        return read_processes()

    def heartbeats(self) -> Mapping[int, Heartbeat]:
        """Read ``/dev/shm``."""
        return read_heartbeats(self.shared_memory)

    def effort(self, pids: Iterable[int]) -> Effort | None:
        """Read the threads' ``schedstat``."""
        return effort(pids)

    def ran(self, pid: int) -> float:
        """Read the ``schedstat`` of the first thread."""
        return seconds_run(pid)

    def command_line(self, pid: int) -> str:
        """Read ``cmdline``."""
        return command_line(pid)

    def kill(self, process: ProcessStat) -> bool:
        """Send the signal through a handle, so that no later process with the same id gets it."""
        return kill_process(process)

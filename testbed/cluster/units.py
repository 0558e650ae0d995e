"""Which processes an instance wants, which run, and so what to stop and what to start.

A process carries its unit's mark in its environment. What runs is therefore read from /proc and never from a
file that can lie after a crash or a reboot: a mark names the instance, the unit, and a digest of how it was
started, so that a unit whose arguments or files changed is started again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MARK: Final = "LLAMA_TESTBED_UNIT"


@dataclass(frozen=True)
class Unit:
    """A process of the bed.

    Attributes:
        name: unique in the instance; `<node>/<program>` for a node's processes.
        argv: program and arguments.
        depends: text whose change means a restart (contents of configuration files).
        inside: name of the unit whose namespaces the process enters, empty for the host's.
        grace_s: seconds between SIGTERM and SIGKILL.
        wrapper: program and arguments in front of `argv` that set something up and become it.
    """

    name: str
    argv: tuple[str, ...]
    depends: tuple[str, ...] = ()
    inside: str = ""
    grace_s: float = 10.0
    wrapper: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Change of this text means that the process must be started again."""
        text = "\0".join((*self.wrapper, *self.argv, *self.depends, self.inside))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def program(self) -> str:
        """File name of the program, by which its process is told from its children."""
        return self.argv[0].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Process:
    """A live process that carries a mark of the bed."""

    pid: int
    instance: str
    unit: str
    digest: str
    program: str
    started: int  # clock ticks since boot


def mark(instance: str, unit: Unit) -> str:
    """Value of the mark in a unit's environment."""
    return f"{instance}:{unit.name}:{unit.digest}"


@dataclass(frozen=True)
class Changes:
    """What to do, in this order."""

    stop: tuple[Process, ...]
    start: tuple[Unit, ...]


def main_processes(wanted: Iterable[Unit], found: Iterable[Process]) -> Mapping[str, Process]:
    """Return each wanted unit's own process: the oldest that runs the unit's program.

    Children inherit the mark (a shim of containerd, a mount helper of kubelet) and must not count.
    """
    programs = {unit.name: unit.program for unit in wanted}
    mains: dict[str, Process] = {}
    for process in sorted(found, key=lambda p: (p.started, p.pid)):
        if programs.get(process.unit) == process.program:
            mains.setdefault(process.unit, process)
    return mains


def changes(wanted: tuple[Unit, ...], found: tuple[Process, ...]) -> Changes:
    """Decide what to stop and start so that exactly the wanted units run as they should.

    A unit inside another one's namespaces is started again with it: its process died or is lost with them.
    """
    mains = main_processes(wanted, found)
    starting: list[Unit] = []
    for unit in wanted:
        process = mains.get(unit.name)
        stale = process is None or process.digest != unit.digest
        if stale or any(parent.name == unit.inside for parent in starting):
            starting.append(unit)
    names = {unit.name for unit in wanted}
    restarting = {unit.name for unit in starting}
    stop = [p for name, p in mains.items() if name in restarting]
    stop += [p for p in found if p.unit not in names]
    return Changes(stop=tuple(stop), start=tuple(starting))

"""Starting, finding and ending the bed's processes. Nothing is decided here."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from testbed.cluster.units import MARK, Process, Unit, mark
from testbed.errors import BedError

_POLL_S = 0.02
# Kept so that Python does not warn that they still run.
_STARTED: list[subprocess.Popen[bytes]] = []


def found(instance: str) -> tuple[Process, ...]:
    """Return all live processes that carry a mark of the instance, children of units included."""
    for child in _STARTED:
        child.poll()  # takes note of an end, so that no zombie stays
    processes = (_read(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(p for p in processes if p is not None and p.instance == instance)


def _read(pid: int) -> Process | None:
    """Read one process; None when it has no mark, ended meanwhile, or belongs to another user."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if f"{MARK}=".encode() not in environ:
            return None
        cmdline = Path(f"/proc/{pid}/cmdline").read_bytes()
        # The command in parentheses may hold spaces: count fields after the last parenthesis.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    value = next((v for k, _, v in (e.partition(b"=") for e in environ.split(b"\0")) if k.decode() == MARK), b"")
    parts = value.decode().split(":")
    if len(parts) != 3 or fields[0] == "Z":
        return None
    program = cmdline.split(b"\0")[0].decode(errors="replace").rsplit("/", 1)[-1]
    return Process(pid=pid, instance=parts[0], unit=parts[1], digest=parts[2], program=program, started=int(fields[19]))


def priority() -> tuple[str, ...]:
    """Arguments that put a program before the machine's other work, where we may.

    A cluster's control plane and node agents have cores to spare; here they share two with what they run. Without
    this, a machine under load looks like one whose nodes are lost. Among containers it decides
    nothing: their cgroups do.
    """
    return ("nice", "--adjustment=-10") if os.geteuid() == 0 else ()


def start(unit: Unit, *, instance: str, log: Path, enter: tuple[str, ...], env: dict[str, str]) -> None:
    """Start a unit in a session of its own, so that it outlives the caller's terminal.

    Args:
        unit: what to start.
        instance: name of the instance, for the mark.
        log: file that gets both output streams, appended.
        enter: arguments in front of the program's that enter namespaces; empty for the host's.
        env: the whole environment; the mark is added.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        _STARTED.append(
            subprocess.Popen(
                [*priority(), *enter, *unit.wrapper, *unit.argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                cwd="/",
                env={**env, MARK: mark(instance, unit)},
            )
        )


def alive(process: Process) -> bool:
    """Tell whether this very process lives: the same pid with the same mark and start time."""
    return _read(process.pid) == process


def stop(processes: Iterable[Process], *, grace_s: float) -> None:
    """End processes: SIGTERM, then SIGKILL after `grace_s` seconds; returns when all are gone."""
    left = list(processes)
    for sent, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        left = [p for p in left if _signal(p, sent)]
        deadline = time.monotonic() + patience_s
        while left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = [p for p in left if alive(p)]
        if not left:
            return
    raise BedError(f"these processes survive SIGKILL: {', '.join(f'{p.unit} (pid {p.pid})' for p in left)}")


def _signal(process: Process, number: signal.Signals) -> bool:
    """Send a signal to this very process; False when it is gone."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True

"""Processes of a running cell that are stopped (SIGSTOP), and what became of it, for tests and benchmark."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llama_serving.cell.watch.names import process_name
from tests.serving.cells import Cell
from tests.serving.pods import command_line, descendants

PERIOD: Final = 0.1  # seconds between two looks at the leader's state


@dataclass(frozen=True)
class Victim:
    """One process of one stage."""

    stage: int
    pid: int  # on this machine
    words: str  # what the cell calls it, where it does not know its rank
    is_supervisor: bool = False


def victims(cell: Cell) -> list[Victim]:
    """Every process of every stage: Ray's, Serve's, the engine's, and the supervisors."""
    found = []
    for pod in cell.pods:
        supervisor = pod.supervisor_pid()
        found.append(Victim(pod.index, supervisor, "the supervisor", is_supervisor=True))
        for pid in descendants(supervisor):
            command = command_line(pid)
            if command and state_of(pid) not in "ZX":
                found.append(Victim(pod.index, pid, process_name(command, program=_program(pid)).words))
    return found


def victim(cell: Cell, *, stage: int, words: str) -> Victim:
    """The one process of a stage that is called so."""
    [found] = [one for one in victims(cell) if (one.stage, one.words) == (stage, words)]
    return found


def state_of(pid: int) -> str:
    """The letter of its state; X when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@dataclass
class Outcome:
    """Seconds from the SIGSTOP; None where it did not happen."""

    victim: Victim
    ended: float | None = None  # the process was ended
    unready: float | None = None  # the leader's supervisor did not say "ready", or did not answer
    replaced: float | None = None  # another engine, or the same one with its process back, says "ready"
    said: list[str] = field(default_factory=list)  # sentences of the leader with the reason EngineHung

    def line(self) -> str:
        """One row of a table."""
        spans = [("ended", self.ended), ("unready", self.unready), ("ready again", self.replaced)]
        shown = ", ".join(f"{name} {span:.1f} s" if span is not None else f"{name} -" for name, span in spans)
        return f"stage {self.victim.stage} {self.victim.words}: {shown}; {self.said[0] if self.said else '-'}"


def stop(cell: Cell, victim: Victim, *, within: float, settle: float = 3.0) -> Outcome:
    """Stop a process, and watch until the cell is ready again for ``settle`` seconds with the process gone."""
    outcome, begun = Outcome(victim), time.monotonic()
    os.kill(victim.pid, signal.SIGSTOP)
    good_since: float | None = None
    while (now := time.monotonic() - begun) < within:
        state = state_or_none(cell)
        if state_of(victim.pid) != "T" and outcome.ended is None:
            outcome.ended = now
        if state is not None and state["reason"] == "EngineHung" and state["message"] not in outcome.said:
            outcome.said.append(state["message"])
        ready = state is not None and state["ready"]
        if not ready and outcome.unready is None:
            outcome.unready = now
        good_since = (good_since or now) if ready and outcome.ended is not None else None
        if good_since is not None and now - good_since >= settle:
            outcome.replaced = good_since
            return outcome
        time.sleep(PERIOD)
    return outcome


def state_or_none(cell: Cell) -> dict[str, Any] | None:
    """The leader's state; None while it does not answer."""
    try:
        return cell.state()
    except (OSError, ValueError):
        return None

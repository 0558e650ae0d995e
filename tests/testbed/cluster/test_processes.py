"""Real processes: found by their mark, told from their children, ended for sure."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.api import wait
from testbed.cluster import processes
from testbed.cluster.units import Process, Unit, main_processes

INSTANCE = f"test-{os.getpid()}"
# Ignores SIGTERM and has a child with the same mark.
STUBBORN = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.run(['sleep', '60'])"
)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    processes.stop(processes.found(INSTANCE), grace_s=0.0)


def start(unit: Unit, tmp_path: Path) -> Unit:
    env = {"PATH": os.environ["PATH"]}
    processes.start(unit, instance=INSTANCE, log=tmp_path / "log" / "unit.log", enter=(), env=env)
    return unit


def wait_for(count: int) -> None:
    def missing() -> str:
        found = processes.found(INSTANCE)
        return "" if len(found) == count else f"{count} processes are expected, found {found}"

    wait("the processes did not appear", missing, deadline_s=10)


def wait_for_main(unit: Unit) -> Process:
    """Wait until the unit's program runs: what raises its priority has its mark, and runs before it."""

    def missing() -> str:
        found = processes.found(INSTANCE)
        return "" if unit.name in main_processes([unit], found) else f"found {found}"

    wait(f"{unit.program} does not run", missing, deadline_s=10)
    return main_processes([unit], processes.found(INSTANCE))[unit.name]


def test_a_process_is_found_by_its_mark_and_ends(tmp_path: Path) -> None:
    unit = start(Unit(name="a/sleep", argv=("sleep", "60")), tmp_path)
    process = wait_for_main(unit)
    assert processes.found(INSTANCE) == (process,)
    assert (process.unit, process.digest, process.program) == ("a/sleep", unit.digest, "sleep")
    assert processes.alive(process)
    assert os.getsid(process.pid) == process.pid  # outlives the terminal
    processes.stop([process], grace_s=5.0)
    assert processes.found(INSTANCE) == ()


def test_one_that_ignores_the_signal_is_killed_and_its_child_is_not_taken_for_it(tmp_path: Path) -> None:
    unit = start(Unit(name="stubborn", argv=(sys.executable, "-c", STUBBORN)), tmp_path)
    main = wait_for_main(unit)
    wait_for(2)
    assert main_processes([unit], processes.found(INSTANCE))["stubborn"] == main
    processes.stop(processes.found(INSTANCE), grace_s=0.1)
    assert processes.found(INSTANCE) == ()


def test_a_killed_process_is_not_found_though_nobody_waited_for_it(tmp_path: Path) -> None:
    process = wait_for_main(start(Unit(name="sleep", argv=("sleep", "60")), tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    wait_for(0)
    assert not processes.alive(process)


def test_a_reused_pid_is_not_the_process(tmp_path: Path) -> None:
    process = wait_for_main(start(Unit(name="sleep", argv=("sleep", "60")), tmp_path))
    earlier = process.__class__(**{**process.__dict__, "started": process.started - 1})
    processes.stop([earlier], grace_s=0.0)
    assert processes.alive(process)


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    start(Unit(name="echo", argv=("sh", "-c", "echo to-the-log; exec sleep 60")), tmp_path)
    log = tmp_path / "log" / "unit.log"
    wait("nothing was logged", lambda: "" if "to-the-log" in log.read_text() else log.read_text() or "-", deadline_s=10)

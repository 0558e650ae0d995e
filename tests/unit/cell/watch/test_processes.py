"""Processes of this machine, as the kernel tells of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_serving.cell.policy.hang import STOPPED
from llama_serving.cell.watch.names import process_name
from llama_serving.cell.watch.parent import PERIOD, next_stopped
from llama_serving.cell.watch.processes import (
    ProcessStat,
    command_line,
    descendants,
    effort,
    kill_process,
    read_process,
    read_processes,
    seconds_run,
)


def eventually(seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_child_is_found_stopped_and_ended(child: subprocess.Popen[bytes]) -> None:
    everything = read_processes()
    assert child.pid in descendants(everything, os.getpid())
    assert descendants(everything, child.pid) == []
    assert "time.sleep(600)" in command_line(child.pid)
    os.kill(child.pid, signal.SIGSTOP)
    eventually(lambda: _state(child.pid) == "T")
    stopped = seconds_run(child.pid)
    assert seconds_run(child.pid) == stopped > 0
    found = read_process(child.pid)
    assert found is not None
    earlier = ProcessStat(found.pid, found.parent, "T", found.started - 1, found.name)
    assert not kill_process(earlier), "another process had this id"
    assert kill_process(found)
    assert child.wait(60) == -signal.SIGKILL
    assert not kill_process(found)
    assert (read_process(child.pid), command_line(child.pid), effort([child.pid])) == (None, "", None)


def _state(pid: int) -> str:
    found = read_process(pid)
    return found.state if found is not None else ""


def test_a_process_that_computes_shows_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = effort([process.pid])
        assert before is not None
        eventually(lambda: sum(_seconds(process.pid)) > sum(before.seconds.values()) + 0.1)
    finally:
        process.kill()
        process.wait()


def _seconds(pid: int) -> list[float]:
    found = effort([pid])
    return list(found.seconds.values()) if found is not None else []


def test_names_with_brackets_and_blanks_are_read(tmp_path: Path) -> None:
    task = tmp_path / "7" / "task" / "7"
    task.mkdir(parents=True)
    line = "7 (ray::Stage) x (y)) D 3 " + " ".join(str(number) for number in range(5, 40))
    for folder in (tmp_path / "7", task):
        (folder / "stat").write_text(line)
    assert read_process(7, tmp_path) == ProcessStat(7, 3, "D", 22, "ray::Stage) x (y)")
    found = effort([7], tmp_path)
    assert found is not None, "without schedstat: the time that it computed"
    assert (found.on_disk, found.seconds[7, 7]) == (True, (14 + 15) / os.sysconf("SC_CLK_TCK"))
    (task / "schedstat").write_text("1500000000 500000000 9\n")
    found = effort([7], tmp_path)
    assert found is not None
    assert found.seconds[7, 7] == 2.0


@pytest.mark.parametrize(
    ("command", "words", "outage"),
    [
        ("ray::ServeReplica:llama:cell", "the replica", True),
        ("ray::SERVE_REPLICA::llama#cell#1a:ServeReplica:llama:cell.__init__", "the replica", True),
        ("VLLM::EngineCore", "the engine core", True),
        ("ray::ServeController.listen", "Serve's controller", False),
        ("ray::IDLE", "a spare process of Ray", False),
        ("/x/raylet/raylet --raylet_socket_name=/tmp/ray/dashboard", "the raylet", True),
        ("python -m llama_serving.cell.ray.start start --head", "ray start", True),
        ("bash", "the process bash", False),
    ],
)
def test_words_of_processes(*, command: str, words: str, outage: bool) -> None:
    name = process_name(command, program="bash")
    assert (name.words, name.outage) == (words, outage)


def test_a_stopped_supervisor_is_ended_at_the_limit_and_one_that_went_on_is_not() -> None:
    killed: list[ProcessStat] = []
    one = ProcessStat(7, 1, "T", 1, "python")
    stopped = 0.0
    for _ in range(int(STOPPED / PERIOD)):
        assert killed == []
        stopped = next_stopped(stopped, one, went_on=False, kill=killed.append)
    assert killed == [one]
    assert next_stopped(stopped, one, went_on=True, kill=killed.append) == 0
    assert next_stopped(stopped, ProcessStat(7, 1, "S", 1, "python"), went_on=False, kill=killed.append) == 0
    assert killed == [one]

"""A watch of real processes: what is stopped or in a deadlock is ended, what computes is left alone."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llama_serving.cell.shared.heartbeat import HeartbeatWriter
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.watch.latest import Latest
from llama_serving.cell.watch.ports import Linux
from llama_serving.cell.watch.processes import ProcessStat
from llama_serving.cell.watch.watch import HangWatch
from tests.component.gateway.running import until
from tests.unit.cell.fakes import replica
from tests.unit.cell.worlds import identity

pytestmark = pytest.mark.timeout(300)

RANK = """
import sys, threading
from pathlib import Path
from llama_serving.cell.shared.heartbeat import HeartbeatWriter
writer = HeartbeatWriter(0, folder=Path(sys.argv[1]))
writer.begin("execute_model", is_step=True)
while sys.argv[2] == "computes":
    pass
lock = threading.Lock()
lock.acquire()
lock.acquire()
"""
SLEEPS = "import threading; threading.Event().wait()"
LOOKS = 14  # of half a second: more than any limit on CPU


@dataclass(frozen=True)
class Counted(Linux):
    """Counts the looks."""

    looks: list[int] = field(default_factory=list)

    def processes(self) -> Mapping[int, ProcessStat]:
        self.looks.append(1)
        return super().processes()


@dataclass
class Running:
    """A leader's watch of a rank, an engine core and a replica; the engine has one request."""

    rank: subprocess.Popen[bytes]
    watch: HangWatch
    system: Counted


@contextlib.asynccontextmanager
async def running(folder: Path, does: str) -> AsyncIterator[Running]:
    with contextlib.ExitStack() as undo:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", *arguments])
            undo.callback(process.wait)
            undo.callback(process.kill)
            return process

        rank, core, server = start(RANK, str(folder), does), start(SLEEPS), start(SLEEPS)

        async def ask() -> ReplicaState | None:
            return replica(pid=server.pid, engine_pid=core.pid, unfinished=1)

        system = Counted(folder)
        me, clock = identity(pipeline=1), time.monotonic
        watch = HangWatch(me, system=system, clock=clock, others={}, replica=Latest(ask, clock=clock))
        task = asyncio.create_task(watch.run())
        try:
            await until(lambda: watch.ranks, seconds=90)
            yield Running(rank, watch, system)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_rank_in_a_deadlock_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, "waits") as cell:
        await until(lambda: cell.rank.poll() is not None and cell.watch.outage is not None, seconds=90)
        assert cell.rank.returncode == -signal.SIGKILL
        hang = cell.watch.outage
        assert hang is not None
        assert (hang.process, hang.pid) == ("rank 0", cell.rank.pid)
        assert "into execute_model of step 1, with 1 request in the engine and nothing computed for " in hang.message


async def test_a_rank_that_computes_is_left_alone_and_one_that_is_stopped_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, "computes") as cell:
        await until(lambda: len(cell.system.looks) > LOOKS, seconds=90)
        assert cell.watch.hang is None
        assert cell.watch.computing
        os.kill(cell.rank.pid, signal.SIGSTOP)
        await until(lambda: cell.rank.poll() is not None and cell.watch.outage is not None, seconds=90)
        assert cell.watch.outage is not None
        assert cell.watch.outage.message.startswith("rank 0 is stopped (state T) for ")


def test_a_heartbeat_is_not_taken_from_a_process_that_is_gone(tmp_path: Path) -> None:
    HeartbeatWriter(3, folder=tmp_path)
    me, clock = identity(1), time.monotonic

    async def nobody() -> None:
        return None

    watch = HangWatch(me, system=Linux(tmp_path), clock=clock, others={0: Latest(nobody, clock=clock)})
    watch.look()
    assert watch.ranks == (), "this process is not below itself"

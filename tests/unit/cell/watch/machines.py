"""A container's processes that do what a test says, and the watches of a whole group on them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_serving.cell.policy.quiet import Effort
from llama_serving.cell.shared.heartbeat import Heartbeat
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.watch.latest import Latest
from llama_serving.cell.watch.processes import ProcessStat
from llama_serving.cell.watch.watch import HangWatch
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Phase
from tests.unit.cell.fakes import FakeClock, replica
from tests.unit.cell.worlds import identity

RAYLET, REPLICA, CORE, CONTROLLER, RANK = 10, 40, 50, 30, 60


@dataclass
class Machine:
    """Implements ``System``. A killed process is gone, unless it waits for a device."""

    table: dict[int, ProcessStat] = field(default_factory=dict)
    beats: dict[int, Heartbeat] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    busy: dict[int, float] = field(default_factory=dict)  # seconds that each process has run
    killed: list[int] = field(default_factory=list)
    unkillable: set[int] = field(default_factory=set)
    looked_at: list[int] = field(default_factory=list)

    def add(self, pid: int, title: str, *, parent: int = 0) -> None:
        self.table[pid] = ProcessStat(pid, parent or os.getpid(), "S", 1000 + pid, title[:15])
        self.titles[pid] = title
        self.busy[pid] = 1.0

    def state(self, pid: int, letter: str) -> None:
        one = self.table[pid]
        self.table[pid] = ProcessStat(one.pid, one.parent, letter, one.started, one.name)

    def processes(self) -> Mapping[int, ProcessStat]:
        return dict(self.table)

    def heartbeats(self) -> Mapping[int, Heartbeat]:
        return dict(self.beats)

    def effort(self, pids: Iterable[int]) -> Effort | None:
        known = [pid for pid in pids if pid in self.busy]
        self.looked_at += known
        return Effort({(pid, pid): self.busy[pid] for pid in known})

    def ran(self, pid: int) -> float:
        return self.busy[pid]

    def command_line(self, pid: int) -> str:
        return self.titles.get(pid, "")

    def kill(self, process: ProcessStat) -> bool:
        self.killed.append(process.pid)
        if process.pid not in self.unkillable:
            self.table.pop(process.pid, None)
        return True


@dataclass
class Stage:
    """One stage: its machine and its watch."""

    number: int
    machine: Machine
    watch: HangWatch
    session: str = "s1"
    answers: bool = True

    def published(self) -> CellState:
        return CellState(
            deployment="demo",
            group=1,
            stage=self.number,
            pod_hash="r1",
            weights="w1",
            phase=Phase.SERVING,
            reason=CellReason.SERVING,
            message="",
            phase_seconds=1,
            uptime_seconds=1,
            session=self.session,
            work_due=self.watch.work_due,
            ranks=self.watch.ranks,
            hang=self.watch.hang,
        )

    def does(self, *, begun: int, ended: int, now: float) -> None:
        self.machine.beats[self.number] = Heartbeat(
            self.number, RANK, (begun + 1) // 2, begun, ended, now, 0.1, "execute_model"
        )


class Cell:
    """A group of two stages, one rank each. ``state_now`` is what its replica answers."""

    def __init__(self, **config: Any) -> None:
        self.clock = FakeClock()
        self.state_now: ReplicaState | None = self.replica()
        self.stages = [self._stage(number, config) for number in range(2)]
        for pid, title in (
            (REPLICA, "ray::ServeReplica"),
            (CORE, "VLLM::EngineCore"),
            (CONTROLLER, "ray::ServeController"),
        ):
            self.stages[0].machine.add(pid, title, parent=RAYLET)
        self.works()

    def replica(self, **changes: Any) -> ReplicaState:
        return replica(**{"pid": REPLICA, "engine_pid": CORE} | changes)

    def _stage(self, number: int, config: dict[str, Any]) -> Stage:
        async def ask() -> CellState | None:
            stage = self.stages[1 - number]
            return stage.published() if stage.answers else None

        async def ask_replica() -> ReplicaState | None:
            return self.state_now

        machine = Machine()
        machine.add(RAYLET, "/ray/raylet/raylet --x")
        machine.add(RANK, "ray::StageProc.run", parent=RAYLET)
        watch = HangWatch(
            identity(number, **config),
            system=machine,
            clock=self.clock,
            others={1 - number: Latest(ask, clock=self.clock)},
            replica=Latest(ask_replica, clock=self.clock) if number == 0 else None,
        )
        return Stage(number, machine, watch)

    @property
    def leader(self) -> Stage:
        return self.stages[0]

    @property
    def worker(self) -> Stage:
        return self.stages[1]

    def works(self, calls: int = 1) -> None:
        """Every rank ends so many more calls."""
        for stage in self.stages:
            before = stage.machine.beats.get(stage.number)
            ended = (before.ended if before is not None else 0) + calls
            stage.does(begun=ended, ended=ended, now=self.clock.now)

    async def looks(self, number: int = 1, *, span: float = 0.5, working: bool = False) -> None:
        """So many looks of every watch, each after its questions."""
        for _ in range(number):
            self.clock.now += span
            if working:
                self.works()
            for stage in self.stages:
                for latest in stage.watch.questions:
                    await latest.look()
            for stage in self.stages:
                stage.watch.look()

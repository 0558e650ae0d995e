"""The watch of one stage: reads heartbeats and ``/proc`` twice a second, and ends what hangs.

It runs beside the supervisor's loop, whose looks wait for Ray and Serve. No answer is waited for here: those of the
replica and of the other stages are asked for by tasks of their own (``Latest``). What is decided is in ``policy``.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_serving.cell.policy.hang import (
    STOPPED,
    GroupMemory,
    GroupView,
    ProcessView,
    find_hang,
    stopped_hang,
)
from llama_serving.cell.policy.quiet import LONGEST_LOOK, Quiet
from llama_serving.cell.shared.engine_metrics import WatchReading
from llama_serving.cell.shared.heartbeat import Heartbeat
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.watch.latest import Latest
from llama_serving.cell.watch.names import ENGINE_CORE, REPLICA, ProcessName, process_name
from llama_serving.cell.watch.ports import System
from llama_serving.cell.watch.processes import GONE, STOPPED_STATES, ProcessStat, descendants
from llama_serving.config.state import CellState, Hang, RankProgress

logger = logging.getLogger(__name__)

PERIOD: Final = 0.5  # seconds between two looks
FRESH: Final = 3.0  # seconds; an older answer of another stage says nothing of now
WORKED: Final = 1.0  # seconds; a process that was quiet for less works
PATIENCE: Final = 10.0  # seconds that a replica may be silent before it counts as one that does not answer
HOLD: Final = 10.0  # seconds that a worker goes on naming what it ended: its leader asks for it
RENEW: Final = 2.0  # seconds after which an engine that outlives a hang is ended too: its streams go on elsewhere
GIVE_UP: Final = 5.0  # seconds after SIGKILL; a process that is still there waits for a device or a disk


@dataclass
class _Stop:
    """A process that is stopped, for how many watched seconds."""

    at: float
    ran: float  # seconds that its first thread has run: another number, and it went on meanwhile
    seconds: float = 0.0


@dataclass
class _Killed:
    """A process that was sent SIGKILL."""

    process: ProcessStat
    hang: Hang
    at: float


@dataclass
class _Memory:
    stops: dict[tuple[int, int], _Stop] = field(default_factory=dict)  # by process and its start
    quiet: dict[int, Quiet] = field(default_factory=dict)  # by process
    killed: dict[tuple[int, int], _Killed] = field(default_factory=dict)
    known: set[tuple[str, int, int]] = field(default_factory=set)  # hangs of others that were taken over


class HangWatch:
    """One stage's watch; ``replica`` is the leader's, ``others`` are the supervisors of the other stages it asks."""

    def __init__(
        self,
        me: Identity,
        *,
        system: System,
        clock: Callable[[], float],
        others: Mapping[int, Latest[CellState]],
        replica: Latest[ReplicaState] | None = None,
    ) -> None:
        self._me = me
        self._system = system
        self._clock = clock
        self._others = others
        self._replica = replica
        self._memory = _Memory()
        self._group = GroupMemory(clock())
        self._own: dict[int, ProcessStat] = {}  # this stage's processes, in the last look
        self._since = clock()  # of the hang
        self._looked = clock()
        self._engine: tuple[int | None, int | None] = (None, None)  # replica and engine core when it was found
        self.hang: Hang | None = None
        self.ranks: tuple[RankProgress, ...] = ()
        self.hangs: dict[tuple[int, str], int] = {}  # how often, by stage and process

    @property
    def questions(self) -> tuple[Latest[CellState] | Latest[ReplicaState], ...]:
        """What is asked beside the looks."""
        own = () if self._replica is None else (self._replica,)
        return (*self._others.values(), *own)

    @property
    def outage(self) -> Hang | None:
        """What hangs and keeps the group from serving."""
        return self.hang if self.hang is not None and self.hang.outage else None

    @property
    def age(self) -> float:
        """Seconds since the last finished look; one that waits for a file of a process that hangs does not finish."""
        return self._clock() - self._looked

    @property
    def work_due(self) -> bool:
        """Whether the leader's engine has something to do."""
        return self._group.due > 0

    @property
    def computing(self) -> bool:
        """Whether a rank or the engine core shows signs of work; on a GPU a thread may also spin for nothing."""
        others = (rank.quiet_seconds for state in self._fresh().values() for rank in state.ranks)
        replica, _ = self._engine_now()
        own = (one.seconds for pid, one in tuple(self._memory.quiet.items()) if pid != replica)
        quiet = (*own, *others)
        return self._me.config.layout.device == "cpu" and self.work_due and min(quiet, default=1.0) < WORKED

    @property
    def last_replica(self) -> ReplicaState | None:
        """What the replica said last, while its process is there: a starved one is late, not gone."""
        replica = self._replica
        if replica is None or replica.answer is None or replica.age > PATIENCE:
            return None
        return replica.answer if replica.answer.pid in self._own else None

    @property
    def gives_up(self) -> str:
        """Why this container has to end; empty while it has not."""
        late = (one for one in tuple(self._memory.killed.values()) if self._clock() - one.at > GIVE_UP)
        return next((f"{one.hang.message}; SIGKILL has not ended it for {GIVE_UP:.0f} s" for one in late), "")

    def reading(self) -> WatchReading:
        """Return what is shown to Prometheus: the ranks of all stages that this one knows of."""
        others = {stage: one.answer.ranks for stage, one in self._others.items() if one.answer is not None}
        return WatchReading({self._me.stage: self.ranks, **others}, dict(self.hangs))

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for question in self.questions:
                tasks.create_task(question.run())
            tasks.create_task(self._look_for_ever())

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(PERIOD)

    def look(self) -> None:
        """Look once at everything, and end what hangs. Blocks for some milliseconds."""
        now, everything = self._clock(), self._system.processes()
        below = descendants(everything, os.getpid())
        self._own = {pid: everything[pid] for pid in below if everything[pid].state not in GONE}
        beats = {beat.pid: beat for beat in self._system.heartbeats().values() if beat.pid in self._own}
        self.ranks = self._progress(beats, everything, now)
        self._forget_ended(now)
        self._end_stopped(now)
        if self._replica is not None:
            self._judge_group(self._replica, everything, now)
        else:
            self._obey_leader()
        self._looked = self._clock()

    # Ranks

    def _progress(
        self, beats: Mapping[int, Heartbeat], everything: Mapping[int, ProcessStat], now: float
    ) -> tuple[RankProgress, ...]:
        before, self._memory.quiet = self._memory.quiet, {}
        found = []
        for beat in sorted(beats.values(), key=lambda beat: beat.rank):
            below = (beat.pid, *descendants(everything, beat.pid))
            quiet = self._quiet(before.get(beat.pid), below, progress=(beat.begun, beat.ended), now=now)
            self._memory.quiet[beat.pid] = quiet
            found.append(_rank_progress(beat, quiet.seconds, now))
        calls = tuple((rank.begun, rank.ended) for rank in found)
        for pid, below in self._engine_processes(everything):
            self._memory.quiet[pid] = self._quiet(before.get(pid), below, progress=calls, now=now)
        return tuple(found)

    def _quiet(self, last: Quiet | None, below: Iterable[int], *, progress: object, now: float) -> Quiet:
        """Look at a process. Threads are only read while work is due and nothing moves: what serves is not slowed."""
        if last is None:
            return Quiet(now, progress)
        still = last.progress == progress and self._is_due()
        return last.look(progress, self._system.effort(below) if still else None, now=now)

    def _is_due(self) -> bool:
        if self._replica is not None:
            return self.work_due or self._group.silent > 0
        leader = self._others[0]
        return leader.answer is not None and leader.answer.work_due and leader.age < FRESH

    def _engine_processes(self, everything: Mapping[int, ProcessStat]) -> list[tuple[int, tuple[int, ...]]]:
        """Return the replica, its own threads only, and the engine core with what it started."""
        replica, core = self._engine_now()
        found: list[tuple[int, tuple[int, ...]]] = []
        if replica in self._own:
            found.append((replica, (replica,)))
        if core in self._own:
            found.append((core, (core, *descendants(everything, core))))
        return found

    def _engine_now(self) -> tuple[int, int]:
        """Return the processes of replica and engine core, as the replica said last; 0 where it has not."""
        said = self._replica.answer if self._replica is not None else None
        return (0, 0) if said is None else (said.pid, said.engine_pid or 0)

    # Stopped processes

    def _end_stopped(self, now: float) -> None:
        before, self._memory.stops = self._memory.stops, {}
        for process in self._own.values():
            if process.state not in STOPPED_STATES:
                continue
            key = (process.pid, process.started)
            stop, ran = before.get(key), self._system.ran(process.pid)
            held = stop.seconds + min(now - stop.at, LONGEST_LOOK) if stop is not None and stop.ran == ran else 0.0
            self._memory.stops[key] = stop = _Stop(now, ran, held)
            if stop.seconds >= STOPPED and key not in self._memory.killed:
                self._end(process, self._stopped(process, stop.seconds), now)

    def _stopped(self, process: ProcessStat, seconds: float) -> Hang:
        rank = next((rank for rank in self.ranks if rank.pid == process.pid), None)
        name = self._name(process) if rank is None else ProcessName(f"rank {rank.rank}")
        return stopped_hang(
            stage=self._me.stage,
            pid=process.pid,
            process=name.words,
            seconds=seconds,
            rank=rank,
            outage=name.outage,
        )

    def _name(self, process: ProcessStat) -> ProcessName:
        replica, core = self._engine_now()
        if process.pid in (replica, core):
            return REPLICA if process.pid == replica else ENGINE_CORE
        return process_name(self._system.command_line(process.pid), program=process.name)

    def _end(self, process: ProcessStat, hang: Hang, now: float) -> None:
        if not self._system.kill(process):
            return
        logger.error("stage %d, process %d: %s", hang.stage, hang.pid, hang.message)
        self._memory.killed[process.pid, process.started] = _Killed(process, hang, now)
        self._note(hang, now)

    def _note(self, hang: Hang, now: float) -> None:
        """Keep the first cause of an outage; a process that nobody waits for does not hide it."""
        key = (hang.stage, hang.process)
        self.hangs[key] = self.hangs.get(key, 0) + 1
        if self.outage is None:
            self.hang, self._since, self._engine = hang, now, self._engine_now()

    def _forget_ended(self, now: float) -> None:
        gone = [key for key, one in self._memory.killed.items() if not self._is_there(one.process)]
        for key in gone:
            del self._memory.killed[key]
        if self.hang is None or self._memory.killed:
            return
        renewed = self._engine_now() not in (self._engine, (0, 0))
        over = renewed if self._replica is not None and self.hang.outage else now - self._since > HOLD
        if over:
            self.hang = None

    def _is_there(self, process: ProcessStat) -> bool:
        now = self._own.get(process.pid)
        return now is not None and now.started == process.started

    # The group

    def _judge_group(self, replica: Latest[ReplicaState], everything: Mapping[int, ProcessStat], now: float) -> None:
        view = self._group_view(replica)
        self._group = self._group.look(view, now=now)
        self._take_over(now)
        if self.hang is not None and self.hang.outage:
            self._renew(everything, now)
        elif (found := find_hang(self._group, view)) is not None:
            process = self._own.get(found.pid) if found.stage == self._me.stage else None
            if process is not None:
                self._end(process, found, now)
            elif found.stage != self._me.stage:
                self._note_of(found.stage, found, now)  # its own supervisor reads that here, and ends it

    def _group_view(self, replica: Latest[ReplicaState]) -> GroupView:
        said, layout = replica.answer, self._me.config.layout
        stages = {stage: state.ranks for stage, state in self._fresh().items()}
        return GroupView(
            device=layout.device,
            stages={self._me.stage: self.ranks, **stages},
            pipeline=layout.pipeline,
            tensor=layout.tensor,
            serving=said is not None and not _swaps(said) and said.pid in self._own,
            unfinished=said.unfinished if said is not None else 0,
            answered_ago=said.engine_seconds_ago if said is not None else 0.0,
            silent=replica.age,
            core=self._view_of(said.engine_pid if said is not None else None),
            replica=self._view_of(said.pid if said is not None else None),
        )

    def _fresh(self) -> dict[int, CellState]:
        """Return what the other stages said lately."""
        return {stage: one.answer for stage, one in self._others.items() if one.answer is not None and one.age < FRESH}

    def _view_of(self, pid: int | None) -> ProcessView | None:
        quiet = self._memory.quiet.get(pid or 0)
        return None if pid is None or quiet is None else ProcessView(pid, quiet.seconds)

    def _take_over(self, now: float) -> None:
        """Take over what another stage found on itself, once."""
        for stage, other in self._others.items():
            if other.answer is not None and other.answer.hang is not None and other.answer.hang.outage:
                self._note_of(stage, other.answer.hang, now)

    def _note_of(self, stage: int, hang: Hang, now: float) -> None:
        other = self._others[stage].answer
        key = (other.session if other is not None else "", stage, hang.pid)
        if key not in self._memory.known:
            self._memory.known.add(key)
            logger.error("stage %d, process %d: %s", stage, hang.pid, hang.message)
            self._note(hang, now)

    def _renew(self, everything: Mapping[int, ProcessStat], now: float) -> None:
        """End replica and engine core where they have not noticed: nothing that streams through them can go on."""
        if self.hang is None or now - self._since < RENEW:
            return
        for pid in self._engine:
            process = everything.get(pid or 0) if pid in self._own else None
            if process is None or (process.pid, process.started) in self._memory.killed:
                continue
            if self._system.kill(process):
                logger.error("ending process %d too, which has not noticed", process.pid)
                self._memory.killed[process.pid, process.started] = _Killed(process, self.hang, now)

    def _obey_leader(self) -> None:
        """End a rank of this stage that the leader found to hang."""
        leader = self._others[0]
        hang = leader.answer.hang if leader.answer is not None and leader.age < FRESH else None
        if hang is None or hang.stage != self._me.stage or hang.pid not in {rank.pid for rank in self.ranks}:
            return
        process = self._own[hang.pid]
        if (process.pid, process.started) not in self._memory.killed:
            self._end(process, hang, self._clock())


def _swaps(replica: ReplicaState) -> bool:
    """Return whether weights are swapped, or the engine stands still after a swap that failed."""
    return replica.weights is None or (replica.swap is not None and replica.swap.outcome == "running")


def _rank_progress(beat: Heartbeat, quiet: float, now: float) -> RankProgress:
    return RankProgress(
        rank=beat.rank,
        pid=beat.pid,
        step=beat.step,
        begun=beat.begun,
        ended=beat.ended,
        doing=beat.doing,
        seconds_ago=round(max(now - beat.changed, 0.0), 3),
        longest_seconds=round(beat.longest, 3),
        quiet_seconds=round(quiet, 3),
    )

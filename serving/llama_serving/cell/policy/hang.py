"""Which process of a group hangs, if one does; decided from evidence, never from a slow answer alone.

==========================================  ========================================================================
seen                                        follows
==========================================  ========================================================================
a process is stopped (state T) for          it hangs, whatever the group does: nothing is slow in this state
``STOPPED`` seconds
work is due, and for ``limit`` seconds no   the rank that is behind the others hangs; the engine core where none is
rank made a call and nothing computed
the replica does not answer for ``limit``   the replica hangs
seconds and does not compute
weights are swapped, the engine starts,     nothing: these have deadlines of their own
a stage's supervisor does not answer
==========================================  ========================================================================

Work is due while the engine has requests that it has not ended, or owes the replica an answer. An idle engine gets a
request for one token from time to time, so that work is due then too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llama_serving.cell.policy.quiet import LONGEST_LOOK
from llama_serving.config.state import Hang, RankProgress
from llama_serving.config.wording import plural

STOPPED: Final = 1.5  # seconds; a profiler that samples stacks stops a process for some hundredths of a second
OWED: Final = 2.0  # seconds; the replica asks the engine core every second
QUIET: Final[Mapping[str, float]] = {
    "cpu": 2.5,  # seconds; what computes shows it, so only a transfer between stages may be this quiet
    "gpu": 10.0,  # a rank may sleep while its device computes
}
LONGEST_STEPS: Final = 4.0  # on a device that is not seen to compute: so many times the longest call that was seen


@dataclass(frozen=True)
class ProcessView:
    """The replica, or the engine core."""

    pid: int
    quiet: float  # seconds, as of ``Quiet``


@dataclass(frozen=True)
class GroupView:
    """What the leader sees of its group in one look."""

    device: str
    stages: Mapping[int, Sequence[RankProgress]]  # of those whose supervisor answered lately
    pipeline: int
    tensor: int
    serving: bool  # the engine has answered, and no weights are swapped
    unfinished: int = 0  # requests in the engine
    answered_ago: float = 0.0  # seconds since the engine core answered the replica, as the replica last said
    silent: float = 0.0  # seconds since the replica last answered the supervisor
    core: ProcessView | None = None
    replica: ProcessView | None = None


@dataclass(frozen=True)
class GroupMemory:
    """For how long work was due, and the replica silent, in watched seconds."""

    at: float
    due: float = 0.0
    silent: float = 0.0

    def look(self, view: GroupView, *, now: float) -> "GroupMemory":
        """Return the memory after another look."""
        spent = min(now - self.at, LONGEST_LOOK)
        silent = view.serving and view.silent > OWED
        due = view.serving and not silent and (view.unfinished > 0 or view.answered_ago > OWED)
        return GroupMemory(now, self.due + spent if due else 0.0, self.silent + spent if silent else 0.0)


def find_hang(memory: GroupMemory, view: GroupView) -> Hang | None:
    """Return the process that keeps the group from its work; None where none does, or where it is not known."""
    limit = quiet_limit(view)
    replica, core = view.replica, view.core
    if replica is not None and min(memory.silent, replica.quiet) >= limit:
        said = f"the replica has not answered or computed for {replica.quiet:.1f} s; {_ENDED}"
        return Hang(stage=0, process="the replica", pid=replica.pid, message=said)
    ranks = [rank for stage in sorted(view.stages) for rank in view.stages[stage]]
    if core is None or replica is None or len(ranks) < view.pipeline * view.tensor:
        return None
    quiet = min([memory.due, core.quiet, replica.quiet, *(rank.quiet_seconds for rank in ranks)])
    return _behind(ranks, core, view, quiet=quiet) if quiet >= limit else None


def quiet_limit(view: GroupView) -> float:
    """Return how long a group with work may be quiet, in seconds."""
    base = QUIET[view.device]
    if view.device == "cpu":
        return base
    longest = max((rank.longest_seconds for ranks in view.stages.values() for rank in ranks), default=0.0)
    return max(base, LONGEST_STEPS * longest)


def stopped_hang(
    *, stage: int, pid: int, process: str, seconds: float, rank: RankProgress | None, outage: bool
) -> Hang:
    """Return what is said of a process that is stopped."""
    last = f", {_last(rank)}" if rank is not None else ""
    said = f"{process} is stopped (state T) for {seconds:.1f} s{last}; {_ENDED}"
    return Hang(stage=stage, process=process, pid=pid, message=said, outage=outage)


_ENDED: Final = "it is ended and starts again"


def _behind(ranks: Sequence[RankProgress], core: ProcessView, view: GroupView, *, quiet: float) -> Hang:
    """Name the rank that ended and began the fewest calls, the first in the pipeline where several did."""
    first = min(ranks, key=lambda rank: (rank.ended, rank.begun, rank.rank))
    work = f"{plural(view.unfinished, 'request')} in the engine and nothing computed for {quiet:.1f} s"
    if all(rank.ended == rank.begun == first.begun for rank in ranks):
        said = f"the engine core does nothing with {work}; the ranks wait after step {first.step}; {_ENDED}"
        return Hang(stage=0, process="the engine core", pid=core.pid, message=said)
    name = f"rank {first.rank}"
    said = f"{name} is the first that others wait for, {_last(first)}, with {work}; {_ENDED}"
    return Hang(stage=first.rank // view.tensor, process=name, pid=first.pid, message=said)


def _last(rank: RankProgress) -> str:
    """Say what a rank did last, and since when."""
    if rank.begun > rank.ended:
        return f"{rank.seconds_ago:.1f} s into {rank.doing} of step {rank.step}"
    return f"{rank.seconds_ago:.1f} s after step {rank.step}"

"""What is owed to clients that left without an answer, and what is done about starts that serve nobody.

A request that leaves the queue while no group serves (it had its 503, or its client gave up) is owed an answer: its
client comes back. Until as many requests were answered as are owed, at most RETURN after the last one left,

    no group is taken away before one has served, and then not the last one

so every client that comes back within RETURN is answered, however long the start takes, once the start is over.
``Remembered`` is what the status keeps of it for the next operator.

A start that serves nobody within ``Limits.give_up``, or whose engine failed RESTARTS times (start_limits.py), is given
up where no group need be there: the next request starts another one after FIRST_PAUSE, twice that, ... at most
LONGEST_PAUSE seconds.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_serving.config.backoff import doubling_pause

RETURN = 3900.0  # seconds: a client that waits an hour, and some more for the request that it sends then
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0  # seconds between a start that was given up and the next
MANY = 100_000  # requests: no more are counted
LATENESS = 60.0  # seconds by which the remembered moment may be off, so that the status is not written in each pass


@dataclass(frozen=True)
class Owed:
    """Requests that left without an answer, and since when. Volatile."""

    requests: int = 0
    since: float = 0.0  # seconds since the last one left, or waited while no group served
    busy: int = 0  # requests that waited or were in flight at the last reading
    unsure: int = 0  # of ``requests`` those that a new process took over and that may be among ``busy``
    answering: bool = False  # a group has had a request since the last one left

    @property
    def holds(self) -> bool:
        """Whether groups are kept for clients that will come back."""
        return self.requests > 0 and self.since < RETURN


@dataclass(frozen=True)
class Remembered:
    """What a restart of the operator leaves of ``Owed``: never less than what is owed, at most twice as much.

    Requests that wait while no group serves count: they may leave before a new operator looks.
    """

    requests: int = 0
    at: datetime | None = None  # when the last one left, or waited while no group served

    def restored(self, now: datetime) -> Owed:
        """Return what a new process begins with."""
        since = max((now - self.at).total_seconds(), 0.0) if self.at else 0.0
        return Owed(self.requests, since, unsure=self.requests)

    def updated(self, owed: Owed, *, serving: int, now: datetime) -> "Remembered":
        """Remember ``owed``; unchanged while it is near enough."""
        requests = (owed.requests if owed.holds else 0) + (0 if serving else max(owed.busy - owed.unsure, 0))
        if not requests:
            return NOTHING_OWED
        at = now - timedelta(seconds=owed.since if owed.holds else 0.0)
        near = self.at is not None and abs((at - self.at).total_seconds()) < LATENESS
        enough = requests <= self.requests <= 2 * requests
        return Remembered(
            requests=self.requests if enough else 1 << (requests - 1).bit_length(),  # so that few passes write it
            at=self.at if near else at,
        )


#: Of a new object, and where every client was answered.
NOTHING_OWED = Remembered()


def owed_after(before: Owed, load: Load, *, serving: int) -> Owed:
    """Add a reading. A reading that is a lower bound tells nothing of requests that left."""
    busy = load.waiting + load.in_flight
    if not load.known or load.span <= 0:
        unsure = min(before.unsure, busy) if load.known else before.unsure
        return replace(before, since=before.since + load.span, busy=max(busy, before.busy), unsure=unsure)
    left = 0 if serving else max(before.busy + load.arrived - load.served - busy, 0)
    missed = left > 0 or (not serving and busy > 0)
    uncounted = max(left - before.unsure, 0)
    requests = min(max(before.requests + uncounted - (load.served if serving else 0), 0), MANY)
    since = 0.0 if missed else before.since + load.span
    answering = not missed and (before.answering or load.served > 0 or load.in_flight > 0)
    if since >= RETURN:
        requests = 0
    return Owed(requests, since, busy, min(max(before.unsure - left, 0), requests, busy), answering)


def starts_in_vain(groups: GroupCounts, limits: Limits) -> bool:
    """Return whether every group that is on its way had its time and serves nobody, and none need be there."""
    if limits.floor or groups.serving or groups.held or groups.leaving or groups.rolling or not groups.starting:
        return False
    return groups.failing >= len(groups.starting) or min(groups.starting) > limits.give_up


def next_start(failed: int, at: datetime | None) -> datetime | None:
    """Return the moment before which no group is started for a request; None where none was given up."""
    if not failed or at is None:
        return None
    return at + timedelta(seconds=doubling_pause(failed, first=FIRST_PAUSE, longest=LONGEST_PAUSE))

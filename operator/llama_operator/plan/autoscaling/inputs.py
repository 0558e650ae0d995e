"""What a decision is made from, beside the load: the groups as they were seen, and the limits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupCounts:
    """The groups as they were seen. Each is counted once."""

    serving: int = 0  # get requests
    starting: tuple[float, ...] = ()  # have capacity and do not serve yet: seconds since each was created
    held: int = 0  # created, and waiting for capacity: they do not count as starting
    leaving: int = 0  # drain, and can still return
    rolling: bool = False  # a rollout is under way, so nothing is scaled down
    failing: int = 0  # of those that start: their engine failed again and again, and never served


@dataclass(frozen=True)
class Limits:
    """The bounds of a decision; ``floor`` includes what a schedule asks for at this moment. Times in seconds."""

    floor: int
    ceiling: int
    slots: int  # requests that a group runs at once
    wait: float = 5.0  # a request shall not wait longer than this
    in_flight: int | None = None  # wanted requests in flight per group; None: what the wait allows
    stable: float | None = None  # stable window; None: from the time that a start takes
    panic: float | None = None  # panic window; None: from the stable one
    cooldown: float | None = None  # between a change and a scale-down; None: from the time that a start takes
    idle_after: float = 600.0  # without any request, before the last group is removed; needs floor 0
    step: int | None = None  # groups that one decision adds at most; None: as many as there are, at least 4
    start: float = 120.0  # time that a start takes before one was measured
    late: float = (
        0.008  # share of requests that may wait too long by the formula; the rest is for what it cannot foresee
    )
    give_up: float = 7200.0  # time that a start may take; then it is given up where no group need be there

    @property
    def in_group(self) -> int:
        """Requests that a group is to have at once."""
        return max(1, min(self.slots, self.in_flight or self.slots))

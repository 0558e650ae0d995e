"""A gateway with more requests than its groups can answer, in virtual time: ``python -m benchmarks.shedding``.

The gateway's own router. Requests come independently of each other and take 2 to 14 s of one of 16 slots. A row is half
an hour with so many times the load that the slots can do. Waiting is in time up to LIMIT. Without shedding all requests
wait, up to the queue's length and time-out (the defaults); with it those that are likely to wait longer than LIMIT are
refused at once.
"""

import heapq
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket

LIMIT = 5.0  # seconds
GROUPS, SLOTS = 2, 8
SHORTEST, LONGEST = 2.0, 14.0  # seconds of a slot
SECONDS = 1800.0
LOADS = (0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
_ARRIVAL, _END, _TIMEOUT = range(3)


@dataclass
class Outcome:
    """Counts of requests, and how long the served ones have waited."""

    arrived: int = 0
    refused: int = 0
    timed_out: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def in_time(self) -> int:
        """Requests that were served and waited no longer than LIMIT."""
        return sum(one <= LIMIT for one in self.waits)


def run(load: float, *, shed_after: float | None, seconds: float = SECONDS, seed: int = 1) -> Outcome:
    """Run a gateway with ``load`` times what its slots can do."""
    return _Gateway(load, shed_after, seed=seed).run(seconds)


class _Gateway:
    """Events in the order of their time: arrivals, ends and time-outs of requests."""

    def __init__(self, load: float, shed_after: float | None, *, seed: int) -> None:
        self._draw, self._found, self._pushed = random.Random(seed), Outcome(), 0
        self._router = Router(Limits(SLOTS, 1000, 300.0, 10, 1.0, shed_after))
        groups = [Endpoint(name, name, 0, "w", "10.0.0.1", 8000, True, False, {}) for name in map(str, range(GROUPS))]
        self._router.update(groups, 0.0)
        self._rate = load * GROUPS * SLOTS / ((SHORTEST + LONGEST) / 2)
        self._events: list[tuple[float, int, int, Ticket | None]] = []

    def run(self, seconds: float) -> Outcome:
        """Let requests come for so long, and end all of them."""
        self._push(self._draw.expovariate(self._rate), _ARRIVAL)
        while self._events:
            now, kind, _, ticket = heapq.heappop(self._events)
            if ticket is None:
                self._arrive(now, last=now >= seconds)
            elif kind == _END or ticket.is_queued:
                self._found.timed_out += kind == _TIMEOUT
                self._begin(self._router.finish(ticket, now), now)
        return self._found

    def _arrive(self, now: float, *, last: bool) -> None:
        self._found.arrived += 1
        if not last:
            self._push(now + self._draw.expovariate(self._rate), _ARRIVAL)
        admitted = self._router.admit(now)
        if isinstance(admitted, QueueFull):
            self._found.refused += 1
        elif admitted.backend is not None:
            self._begin([admitted], now)
        else:
            self._push(self._router.deadline(admitted), _TIMEOUT, admitted)

    def _begin(self, tickets: Sequence[Ticket], now: float) -> None:
        for one in tickets:
            self._found.waits.append(now - one.arrived)
            self._push(now + self._draw.uniform(SHORTEST, LONGEST), _END, one)

    def _push(self, at: float, kind: int, ticket: Ticket | None = None) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (at, kind, self._pushed, ticket))


def main() -> int:
    """Print the table."""
    sys.stdout.write(
        "| load | shedding | in time of all | in time of the served | refused | timed out | longest wait |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for load in LOADS:
        for shed_after in (None, LIMIT):
            one = run(load, shed_after=shed_after)
            row = (
                f"{load:g}", f"after {shed_after:g} s" if shed_after else "no",
                f"{100 * one.in_time / one.arrived:.1f} %", f"{100 * one.in_time / len(one.waits):.1f} %",
                f"{100 * one.refused / one.arrived:.1f} %", f"{100 * one.timed_out / one.arrived:.1f} %",
                f"{max(one.waits):.0f} s",
            )  # fmt: skip
            sys.stdout.write(f"| {' | '.join(row)} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

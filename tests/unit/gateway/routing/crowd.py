"""Users and attackers before a router, in simulated time: who was answered, and who was taken out for whom.

Requests are attempted as ``attempts.py`` does it. A group is well, sick (it fails all work and answers probes) or dead
(it takes no connection).
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import REFUSED, endpoint

PROBE = 0.005
ROUND_TRIP = 0.01


@dataclass(frozen=True)
class Crowd:
    """Rates in requests per second, times in seconds.

    ``poison``: how every group that is well fails an attacker's request; ``lucky``: the part of attempts that it
    answers all the same; ``hang``: how long that takes. ``faults``: how a group fails all work, by
    name; None: it is dead.
    """

    groups: int
    poison: AttemptFault
    attacks: float = 100
    users: float = 10
    answer: float = 0.2
    hang: float = ROUND_TRIP
    lucky: float = 0.0
    faults: dict[str, AttemptFault | None] = field(default_factory=dict)
    slots: int = 64
    seconds: float = 8


@dataclass
class Seen:
    """What became of the requests. ``visits``: the groups of each attacker's request, in order.

    ``ejections``: by the group's name; ``failures``: attempts of users that failed there.
    """

    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    visits: dict[int, list[str]] = field(default_factory=dict)
    ejections: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    longest_queue: int = 0


class Simulation:
    """One run; every choice comes from the seed."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self.crowd = crowd
        self.seen = Seen()
        self.now = 0.0
        self._chance = random.Random(seed)
        self._router = Router(Limits(crowd.slots, 1000, 300, 10, 1))
        self._router.update([endpoint(f"g{number}") for number in range(crowd.groups)], 0.0)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._is_attack: dict[Ticket, bool] = {}
        self._out: set[str] = set()
        self._planned: float | None = None  # look at the probes

    def run(self) -> Seen:
        self._arrive(self.crowd.users, attack=False)
        self._arrive(self.crowd.attacks, attack=True)
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._look()
        waits = [ticket for ticket in self._router.queue if not self._is_attack[ticket]]
        self.seen.failed += [f"waits for ever: {ticket.last_fault}" for ticket in waits]
        return self.seen

    def _arrive(self, rate: float, *, attack: bool) -> None:
        at = 0.0
        while rate and (at := at + self._chance.expovariate(rate)) < self.crowd.seconds:
            self._at(at, lambda: self._admit(attack=attack))

    def _at(self, at: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, act))

    def _admit(self, *, attack: bool) -> None:
        ticket = self._router.admit(self.now)
        if isinstance(ticket, QueueFull):
            self.seen.failed += [] if attack else ["the queue is full"]
            return
        self._is_attack[ticket] = attack
        if ticket.backend is not None:
            self._send(ticket)

    def _send(self, ticket: Ticket) -> None:
        assert ticket.backend is not None
        name = ticket.backend.endpoint.name
        attack = self._is_attack[ticket]
        if attack:
            self.seen.visits.setdefault(ticket.seq, []).append(name)
        fault = self.crowd.faults.get(name, self._poison() if attack else None)
        if name in self.crowd.faults and fault is None:
            fault = REFUSED
        if fault is None:
            self._at(self.now + self.crowd.answer, lambda: self._answer(ticket))
        else:
            takes = self.crowd.hang if fault.kind is FaultKind.READ_TIMEOUT else ROUND_TRIP
            self._at(self.now + takes, lambda: self._fail(ticket, fault))

    def _poison(self) -> AttemptFault | None:
        return None if self._chance.random() < self.crowd.lucky else self.crowd.poison

    def _answer(self, ticket: Ticket) -> None:
        self._wake(self._router.answered(ticket, self.now))
        self._router.completed(ticket, self.now)
        self.seen.answered["attacker" if self._is_attack[ticket] else "user"] += 1
        self._wake(self._router.finish(ticket, self.now))

    def _fail(self, ticket: Ticket, fault: AttemptFault) -> None:
        assert ticket.backend is not None
        if not self._is_attack[ticket]:
            self.seen.failures[ticket.backend.endpoint.name] += 1
        if self._router.may_retry(ticket, fault, self.now):
            self._wake(self._router.requeue(ticket, self.now))
        else:
            self._end(ticket)

    def _end(self, ticket: Ticket) -> None:
        if not self._is_attack[ticket]:
            self.seen.failed.append(ticket.last_fault)
        self._wake(self._router.finish(ticket, self.now))

    def _wake(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            if ticket.is_cause:
                self._end(ticket)
            else:
                self._send(ticket)

    def _look(self) -> None:
        """Start the probes that are due, and plan a look when the next one is."""
        self.seen.longest_queue = max(self.seen.longest_queue, len(self._router.queue))
        out = {b.endpoint.name for b in self._router.backends.values() if b.health.ejected}
        self.seen.ejections.update(out - self._out)
        self._out = out
        for backend, token in self._router.due_probes(self.now):
            self._at(self.now + PROBE, partial(self._probed, backend, token))
        at = self._router.next_probe()
        if at is not None and at != self._planned and at < self.crowd.seconds + 60:
            self._planned = at
            self._at(max(at, self.now), lambda: None)

    def _probed(self, backend: Backend, token: int) -> None:
        is_dead = self.crowd.faults.get(backend.endpoint.name, REFUSED) is None
        self._wake(self._router.probed(backend, token=token, good=not is_dead, now=self.now))

"""Plays arrivals through a router with groups that take the time that each answer needs."""

import heapq
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import endpoint


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, of whom, how many tokens it is expected to take and takes; a second per 100 tokens."""

    at: float
    flow: Flow
    expected: int
    tokens: int

    @property
    def seconds(self) -> float:
        return self.tokens / 100


@dataclass
class Outcome:
    """Per flow: seconds of waiting, and until the end of the answer, of those served, and when each ended; how many
    were refused."""

    waits: dict[Flow, list[float]]
    totals: dict[Flow, list[float]]
    ends: dict[Flow, list[float]]
    refused: dict[Flow, int]

    def served(self, flow: Flow, *, until: float) -> int:
        """How many answers ended while requests still came."""
        return sum(end <= until for end in self.ends[flow])

    def p99(self, *flows: Flow) -> float:
        return quantile([total for flow in flows for total in self.totals.get(flow, [])], 0.99)

    def p99_wait(self, *flows: Flow) -> float:
        return quantile([wait for flow in flows for wait in self.waits.get(flow, [])], 0.99)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def poisson(
    flow: Flow, *, rate: float, until: float, seed: int, expected: int, tokens: int, start: float = 0.0
) -> list[Arrival]:
    """Requests of one client at random times, ``rate`` a second; their answers vary by half around ``tokens``."""
    chance = random.Random(seed)
    found: list[Arrival] = []
    at = start + chance.expovariate(rate)
    while at < until:
        found.append(Arrival(at, flow, expected, int(tokens * chance.uniform(0.5, 1.5))))
        at += chance.expovariate(rate)
    return found


def simulate(arrivals: Iterable[Arrival], *, slots: int, queue: int = 1000) -> Outcome:
    """Play to the end: until the last answer has ended."""
    router = Router(Limits(slots, queue, 1e9, 10, 1))
    router.update([endpoint("a")], 0.0)
    outcome = Outcome({}, {}, {}, {})
    of: dict[Ticket, Arrival] = {}
    ends: list[tuple[float, int, Ticket]] = []
    coming = sorted(arrivals, key=lambda arrival: arrival.at)
    at = 0

    def begin(tickets: Iterable[Ticket], now: float) -> None:
        for ticket in tickets:
            heapq.heappush(ends, (now + of[ticket].seconds, ticket.seq, ticket))

    while at < len(coming) or ends:
        if at < len(coming) and (not ends or coming[at].at <= ends[0][0]):
            arrival, at = coming[at], at + 1
            ticket = router.admit(arrival.at, RequestSize(0, arrival.expected), flow=arrival.flow)
            for dropped, _ in router.dropped:
                outcome.refused[dropped.flow] = outcome.refused.get(dropped.flow, 0) + 1
            router.dropped.clear()
            if isinstance(ticket, QueueFull):
                outcome.refused[arrival.flow] = outcome.refused.get(arrival.flow, 0) + 1
                continue
            of[ticket] = arrival
            if ticket.backend is not None:
                begin([ticket], arrival.at)
        else:
            now, _, ticket = heapq.heappop(ends)
            arrival = of.pop(ticket)
            router.settle(ticket, arrival.tokens)
            outcome.waits.setdefault(ticket.flow, []).append(ticket.waited)
            outcome.totals.setdefault(ticket.flow, []).append(now - arrival.at)
            outcome.ends.setdefault(ticket.flow, []).append(now)
            begin(router.finish(ticket, now), now)
    return outcome


def shares(outcome: Outcome) -> Mapping[str, int]:
    """Return how many requests of each client were served."""
    return {flow.name: len(totals) for flow, totals in outcome.totals.items()}

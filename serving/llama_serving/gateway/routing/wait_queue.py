"""The queue of requests that wait for a backend: fair between clients, in order of arrival within one.

There are two parts: ``_requeued`` (placed before; few, sorted by arrival), and ``_new``, one line per adapter (None:
for the base), each with a line per client. Only a requeued request can be barred from a backend. The new ones of an
adapter may all use the same backends, so of each adapter the one whose turn it is decides: a line for an adapter that
no group has holds nobody up. A free slot therefore finds its request without a walk over the whole queue.

With one client the order is that of arrival. ``fair/flow.py`` has the rule for several.
"""

import bisect
import heapq
from collections.abc import Iterator

from llama_serving.gateway.routing.fair.flow import Flow, Rings
from llama_serving.gateway.routing.fair.lengths import Lengths
from llama_serving.gateway.routing.fair.line import AdapterLine, turn_of
from llama_serving.gateway.routing.request_size import WorkTotals
from llama_serving.gateway.routing.ticket import Ticket


class WaitQueue:
    """Waiting requests; ``work`` totals those that are work for a group. Every request joins and leaves once."""

    def __init__(self) -> None:
        self._requeued: list[Ticket] = []
        self._new: dict[str | None, AdapterLine] = {}
        self._of_flow: dict[Flow, dict[int, Ticket]] = {}  # the new ones, in order of arrival
        self._lengths = Lengths()
        self._rings = Rings()
        self._length = 0
        self.work = WorkTotals()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Ticket]:
        return heapq.merge(self._requeued, *(tickets.values() for tickets in self._of_flow.values()), key=_seq)

    def join(self, ticket: Ticket) -> None:
        """Count a new request, whether or not it will wait."""
        ticket.round = self._rings.join(ticket.flow)

    def leave(self, ticket: Ticket) -> None:
        """Count the end of a request that does not wait."""
        self._rings.leave(ticket.flow)

    def append(self, ticket: Ticket) -> None:
        """Add a new request; it must be the youngest."""
        ticket.paid = max(ticket.cost, 1)
        ticket.round = self._rings.charge(ticket.flow, ticket.paid)
        line = self._new.get(ticket.adapter)
        if line is None:
            line = self._new[ticket.adapter] = AdapterLine()
        line.append(ticket)
        self._of_flow.setdefault(ticket.flow, {})[ticket.seq] = ticket
        self._lengths.add(ticket.flow)
        self._count(ticket)

    def requeue(self, ticket: Ticket) -> None:
        """Add a request that was placed before, in order of its arrival; it has paid."""
        bisect.insort(self._requeued, ticket, key=_seq)
        self._count(ticket)

    def remove(self, ticket: Ticket, *, served: bool = False) -> None:
        """Remove a request from either part; ``served``: it has got a backend."""
        line = self._new.get(ticket.adapter)
        if line is None or not line.remove(ticket):
            self._requeued.remove(ticket)
        else:
            if not len(line):
                del self._new[ticket.adapter]
            self._lengths.remove(ticket.flow)
            of_flow = self._of_flow[ticket.flow]
            del of_flow[ticket.seq]
            if not of_flow:
                del self._of_flow[ticket.flow]
            if served:
                self._rings.unwait(ticket.flow, ticket.round)
            else:
                self._rings.go_away(ticket.flow, ticket.paid)
        self._length -= 1
        if ticket.size is not None:
            self.work.subtract(ticket.size)

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """Charge what a request that has waited took in the end."""
        if ticket.paid:
            self._rings.settle(ticket.flow, tokens - ticket.paid)
            ticket.paid = 0

    @property
    def requeued(self) -> list[Ticket]:
        """The requests that were placed before, in order of arrival."""
        return self._requeued

    def candidates(self) -> list[Ticket]:
        """Return, in order, the requests that a free slot may go to."""
        heads = [head for line in self._new.values() if (head := line.head()) is not None]
        return sorted([*self._requeued, *heads], key=turn_of)

    def to_drop_for(self, flow: Flow) -> Ticket | None:
        """Return the request that makes room for one of ``flow``: the newest of the client with the most waiting.

        None where ``flow`` itself would be that client.
        """
        if self._lengths.longest <= self._lengths.of(flow) + 1:
            return None
        return next(reversed(self._of_flow[self._lengths.flow()].values()))

    def ahead_of(self, flow: Flow) -> int:
        """Count the waiting requests that come before a new one of ``flow``, of each client one in turn."""
        mine = len(self._of_flow.get(flow, ()))
        others = sum(min(len(one), mine + 1) for other, one in self._of_flow.items() if other is not flow)
        return len(self._requeued) + mine + others

    def lines(self) -> Iterator[tuple[str | None, int]]:
        """Return, per adapter (None: the base), how many new requests wait."""
        return ((adapter, len(line)) for adapter, line in self._new.items())

    def oldest_since(self) -> float | None:
        """Return the earliest start of waiting among requests that are work; None when none waits."""
        heads = (next((t for t in line.values() if t.size is not None), None) for line in self._of_flow.values())
        waiting = [ticket for ticket in heads if ticket is not None]
        waiting += [ticket for ticket in self._requeued if ticket.size is not None]
        return min((ticket.waiting_since for ticket in waiting if ticket.waiting_since is not None), default=None)

    def _count(self, ticket: Ticket) -> None:
        self._length += 1
        if ticket.size is not None:
            self.work.add(ticket.size)


def _seq(ticket: Ticket) -> int:
    return ticket.seq

"""The queue of requests that wait for a backend, in order of arrival; a requeued request keeps its place.

There are two parts: ``_requeued`` (placed before; few, sorted by arrival), and ``_new``, one line per adapter (None:
for the base), each in order of arrival. Only a requeued request can be barred from a backend. The new ones of a line
may all use the same backends, so of each line the head decides: a line for an adapter that no group has holds nobody
up. A free slot therefore finds its request without a walk over the whole queue.
"""

import bisect
import heapq
from collections.abc import Iterator

from llama_serving.gateway.routing.request_size import WorkTotals
from llama_serving.gateway.routing.ticket import Ticket


class WaitQueue:
    """Waiting requests, oldest arrival first; ``work`` totals those that are work for a group."""

    def __init__(self) -> None:
        self._requeued: list[Ticket] = []
        self._new: dict[str | None, dict[int, Ticket]] = {}
        self._length = 0
        self.work = WorkTotals()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Ticket]:
        return heapq.merge(self._requeued, *(line.values() for line in self._new.values()), key=_seq)

    def append(self, ticket: Ticket) -> None:
        """Add a new request; it must be the youngest."""
        self._new.setdefault(ticket.adapter, {})[ticket.seq] = ticket
        self._length += 1
        if ticket.size is not None:
            self.work.add(ticket.size)

    def requeue(self, ticket: Ticket) -> None:
        """Add a request that was placed before, in order of its arrival."""
        bisect.insort(self._requeued, ticket, key=_seq)
        self._length += 1
        if ticket.size is not None:
            self.work.add(ticket.size)

    def remove(self, ticket: Ticket) -> None:
        """Remove a request from either part."""
        line = self._new.get(ticket.adapter, {})
        if line.pop(ticket.seq, None) is None:
            self._requeued.remove(ticket)
        elif not line:
            del self._new[ticket.adapter]
        self._length -= 1
        if ticket.size is not None:
            self.work.subtract(ticket.size)

    @property
    def requeued(self) -> list[Ticket]:
        """The requests that were placed before, in order of arrival."""
        return self._requeued

    def candidates(self) -> list[Ticket]:
        """Return, in order, the requests that a free slot may go to."""
        heads = [next(iter(line.values())) for line in self._new.values()]
        return sorted([*self._requeued, *heads], key=_seq)

    def lines(self) -> Iterator[tuple[str | None, int]]:
        """Return, per adapter (None: the base), how many new requests wait."""
        return ((adapter, len(line)) for adapter, line in self._new.items())

    def oldest_since(self) -> float | None:
        """Return the earliest start of waiting among requests that are work; None when none waits."""
        heads = (next((t for t in line.values() if t.size is not None), None) for line in self._new.values())
        waiting = [ticket for ticket in heads if ticket is not None]
        waiting += [ticket for ticket in self._requeued if ticket.size is not None]
        return min((ticket.waiting_since for ticket in waiting if ticket.waiting_since is not None), default=None)


def _seq(ticket: Ticket) -> int:
    return ticket.seq

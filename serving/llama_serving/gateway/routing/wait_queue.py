"""The queue of requests that wait for a backend, in order of arrival; a requeued request keeps its place.

Requests that were placed before come ahead of all new ones, because no request is placed while an older new one
waits. So two parts suffice: ``_requeued`` (few, sorted by arrival) and ``_new`` (in order of arrival). Only a requeued
request can be barred from a backend; of the new ones the head decides. A free slot therefore finds its request without
a walk over the whole queue.
"""

import bisect
from collections.abc import Iterator

from llama_serving.gateway.routing.request_size import WorkTotals
from llama_serving.gateway.routing.ticket import Ticket


class WaitQueue:
    """Waiting requests, oldest arrival first; ``work`` totals those that are work for a group."""

    def __init__(self) -> None:
        self._requeued: list[Ticket] = []
        self._new: dict[int, Ticket] = {}
        self.work = WorkTotals()

    def __len__(self) -> int:
        return len(self._requeued) + len(self._new)

    def __iter__(self) -> Iterator[Ticket]:
        yield from self._requeued
        yield from self._new.values()

    def append(self, ticket: Ticket) -> None:
        """Add a new request; it must be the youngest."""
        self._new[ticket.seq] = ticket
        if ticket.size is not None:
            self.work.add(ticket.size)

    def requeue(self, ticket: Ticket) -> None:
        """Add a request that was placed before, in order of its arrival."""
        bisect.insort(self._requeued, ticket, key=_seq)
        if ticket.size is not None:
            self.work.add(ticket.size)

    def remove(self, ticket: Ticket) -> None:
        """Remove a request from either part."""
        if self._new.pop(ticket.seq, None) is None:
            self._requeued.remove(ticket)
        if ticket.size is not None:
            self.work.subtract(ticket.size)

    def candidates(self) -> list[Ticket]:
        """Return, in order, the requests that a free slot may go to."""
        head = next(iter(self._new.values()), None)
        return [*self._requeued, head] if head else list(self._requeued)

    def oldest_since(self) -> float | None:
        """Return the earliest start of waiting among requests that are work; None when none waits."""
        head = next((t for t in self._new.values() if t.size is not None), None)
        since = [t.waiting_since for t in self._requeued if t.waiting_since is not None and t.size is not None]
        if head is not None and head.waiting_since is not None:
            since.append(head.waiting_since)
        return min(since, default=None)


def _seq(ticket: Ticket) -> int:
    return ticket.seq

"""The queue: order of arrival, kept also by requests that come back to be tried again.

Those that were already placed once stand before all that were not, because nobody is placed while an older request
without a past waits. So two parts suffice: ``again`` (few, sorted by arrival) and ``first`` (in order of arrival).
Only a request in ``again`` can be kept from a group; for ``first`` the head decides. A free slot therefore finds
its request without a walk over the whole line.
"""

import bisect
from collections.abc import Iterator

from llama_serving.gateway.routing.request_size import WorkTotals
from llama_serving.gateway.routing.ticket import Ticket


class WaitQueue:
    """Waiting requests, oldest arrival first; ``work`` is the sum of those that are work for a group."""

    def __init__(self) -> None:
        self._again: list[Ticket] = []
        self._first: dict[int, Ticket] = {}
        self.work = WorkTotals()

    def __len__(self) -> int:
        return len(self._again) + len(self._first)

    def __iter__(self) -> Iterator[Ticket]:
        yield from self._again
        yield from self._first.values()

    def append(self, ticket: Ticket) -> None:
        """Add a request that was never placed; it must be the youngest."""
        self._first[ticket.seq] = ticket
        if ticket.size is not None:
            self.work.add(ticket.size)

    def put_back(self, ticket: Ticket) -> None:
        """Add a request that was placed before, at the place of its arrival."""
        bisect.insort(self._again, ticket, key=_seq)
        if ticket.size is not None:
            self.work.add(ticket.size)

    def remove(self, ticket: Ticket) -> None:
        """Take a request out, wherever it stands."""
        if self._first.pop(ticket.seq, None) is None:
            self._again.remove(ticket)
        if ticket.size is not None:
            self.work.take(ticket.size)

    def candidates(self) -> list[Ticket]:
        """Return, in order, the requests that a free slot has to consider."""
        head = next(iter(self._first.values()), None)
        return [*self._again, head] if head else list(self._again)

    def oldest_since(self) -> float | None:
        """Return since when that one waits which has waited longest of those that are work."""
        head = next((t for t in self._first.values() if t.size is not None), None)
        since = [t.waiting_since for t in self._again if t.waiting_since is not None and t.size is not None]
        if head is not None and head.waiting_since is not None:
            since.append(head.waiting_since)
        return min(since, default=None)


def _seq(ticket: Ticket) -> int:
    return ticket.seq

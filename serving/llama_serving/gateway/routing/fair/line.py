"""The requests that wait for one adapter, or for the base: of each client a line, and whose line is next.

A heap has one entry per line, by (priority, round, order). The round of a line's head only grows, so an entry that is
too early is put right when it comes to the top. An entry whose line was empty meanwhile is dead; when half of them are,
the heap is made anew.
"""

import heapq

from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.ticket import Ticket

_FEW = 64


class ClientLine:
    """What waits of one client, in order of arrival; ``number`` is that of its living entry in the heap."""

    __slots__ = ("flow", "number", "tickets")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.number = 0
        self.tickets: dict[int, Ticket] = {}

    def key(self) -> tuple[int, int, int]:
        """Return when its head's turn is. There must be one."""
        return turn_of(next(iter(self.tickets.values())))[:3]


class AdapterLine:
    """All clients' lines for one adapter."""

    def __init__(self) -> None:
        self._lines: dict[Flow, ClientLine] = {}
        self._heap: list[tuple[tuple[int, int, int], int, ClientLine]] = []
        self._numbers = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, ticket: Ticket) -> None:
        """Add a request to its client's line."""
        line = self._lines.get(ticket.flow)
        if line is None:
            line = self._lines[ticket.flow] = ClientLine(ticket.flow)
            line.tickets[ticket.seq] = ticket
            self._push(line)
        else:
            line.tickets[ticket.seq] = ticket
        self._length += 1

    def remove(self, ticket: Ticket) -> bool:
        """Remove a request; return False where it is not here."""
        line = self._lines.get(ticket.flow)
        if line is None or line.tickets.pop(ticket.seq, None) is None:
            return False
        self._length -= 1
        if not line.tickets:
            line.number = 0
            del self._lines[ticket.flow]
            if len(self._heap) > 2 * len(self._lines) + _FEW:
                self._heap = [(one.key(), one.number, one) for one in self._lines.values()]
                heapq.heapify(self._heap)
        return True

    def head(self) -> Ticket | None:
        """Return the request whose turn is next; None where none waits."""
        heap = self._heap
        while heap:
            key, number, line = heap[0]
            if line.number != number:
                heapq.heappop(heap)
                continue
            now = line.key()
            if now > key:
                heapq.heapreplace(heap, (now, number, line))
                continue
            return next(iter(line.tickets.values()))
        return None

    def _push(self, line: ClientLine) -> None:
        self._numbers += 1
        line.number = self._numbers
        heapq.heappush(self._heap, (line.key(), line.number, line))


def turn_of(ticket: Ticket) -> tuple[int, int, int, int]:
    """Return by what waiting requests are ordered: priority, round, turn within the round, arrival."""
    flow = ticket.flow
    return -flow.priority, ticket.round + flow.shift, flow.order, ticket.seq

"""In which round each request of a client is served: deficit round robin over clients, by tokens.

In each round a flow (one client's requests) may take ``QUANTUM`` x its weight tokens more, and keeps what it does not
take while it has requests waiting (M. Shreedhar and G. Varghese, "Efficient Fair Queueing using Deficit Round Robin",
SIGCOMM 1995). No walk over the flows is made: the round of a request is worked out when it begins to wait.

    missing = cost - deficit,  rounds = ceil(missing / quantum),  round += rounds,  deficit += rounds x quantum - cost

Costs are expected tokens. When an answer ends, the difference to the real ones is settled: what it took too much moves
all waiting requests of its flow back by whole rounds (``shift``), what it took too little is credit for the next one.
A flow that has no request left begins anew, in the round that it had reached by what it took (``floor``).
"""

from dataclasses import dataclass
from typing import Final

#: Tokens of a round for a flow of weight 1. A small one makes short turns; it costs nothing, since no round is walked.
QUANTUM: Final = 64


@dataclass(slots=True, eq=False)
class Flow:
    """One client, as the queue sees it; rounds are those of its priority, tokens are expected ones.

    ``round`` is that of its youngest request, without ``shift``; ``order`` breaks ties within a round. ``members``:
    its requests in the router, waiting or placed. ``debt`` in tokens; a credit where it is negative.
    """

    name: str = ""
    weight: int = 1
    priority: int = 0
    order: int = 0
    members: int = 0
    waiting: int = 0
    round: int = 0
    shift: int = 0
    floor: int = 0
    deficit: int = 0
    debt: int = 0

    @property
    def quantum(self) -> int:
        """Tokens of one round."""
        return QUANTUM * self.weight


@dataclass(slots=True)
class Ring:
    """The flows of one priority: ``round`` is the one served now, ``waiting`` how many requests wait."""

    round: int = 0
    waiting: int = 0


class Rings:
    """The rounds of all flows."""

    def __init__(self) -> None:
        self._rings: dict[int, Ring] = {}
        self._orders = 0

    def join(self, flow: Flow) -> int:
        """Count a new request that does not wait; return its round."""
        ring = self._ring(flow)
        self._catch_up(flow, ring)
        flow.members += 1
        return flow.round

    def charge(self, flow: Flow, cost: int) -> int:
        """Charge a request that ``join`` counted and that begins to wait; return its round."""
        ring = self._ring(flow)
        if not flow.waiting:
            self._orders += 1
            flow.order, flow.deficit = self._orders, 0
        flow.waiting += 1
        ring.waiting += 1
        if flow.debt < 0:
            flow.deficit, flow.debt = flow.deficit - flow.debt, 0
        rounds = max(-(-(cost - flow.deficit) // flow.quantum), 0)
        flow.round += rounds
        flow.deficit += rounds * flow.quantum - cost
        return flow.round

    def unwait(self, flow: Flow, turn: int | None) -> None:
        """Count a charged request that waits no more; ``turn``: its round if it is served, None if it goes away."""
        ring = self._ring(flow)
        flow.waiting -= 1
        ring.waiting -= 1
        if turn is not None:
            ring.round = max(ring.round, turn + flow.shift)

    def settle(self, flow: Flow, more: int) -> None:
        """Charge what an answer took more than it was charged with; less where ``more`` is negative."""
        ring = self._ring(flow)
        flow.debt += more
        if flow.debt >= flow.quantum:
            rounds, flow.debt = divmod(flow.debt, flow.quantum)
            flow.shift += rounds
            flow.floor = max(flow.floor, ring.round) + rounds

    def leave(self, flow: Flow) -> None:
        """Count the end of a request."""
        flow.members -= 1
        if not flow.members:
            flow.round, flow.shift, flow.deficit = flow.floor, 0, 0
            flow.debt = max(flow.debt, 0)

    def _ring(self, flow: Flow) -> Ring:
        ring = self._rings.get(flow.priority)
        if ring is None:
            ring = self._rings[flow.priority] = Ring()
        return ring

    def _catch_up(self, flow: Flow, ring: Ring) -> None:
        """Let a flow that has nothing waiting begin in the present round: unused rounds are no credit."""
        if not flow.members and not ring.waiting:
            flow.round = flow.floor = ring.round  # nobody is waiting with whom it would have to share
            flow.debt = 0
        elif flow.round + flow.shift < ring.round:
            flow.round = ring.round - flow.shift
            flow.deficit = 0

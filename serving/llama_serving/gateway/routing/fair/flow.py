"""In which round each request of a client is served: deficit round robin over clients, by tokens.

In each round a flow (one client's requests) may take ``QUANTUM`` x its weight tokens (M. Shreedhar and G. Varghese,
"Efficient Fair Queueing using Deficit Round Robin", SIGCOMM 1995). It is served first and pays afterwards, the variant
with a surplus (H. Adiseshu, G. Parulkar and G. Varghese, SIGCOMM 1996): who has taken less than its share is next at
once, and its debt keeps it from coming back too soon, also when it had nothing waiting meanwhile. No walk over the
flows is made: the round of a request is worked out when it begins to wait.

    its round = the flow's round;  then  left -= cost,  and while left <= 0:  round += 1, left += quantum

Costs are expected tokens. When an answer ends, the difference to the real ones is settled: what it took too much moves
all requests of its flow back by whole rounds (``shift``), what it took too little is credit for the next one. So is
what was paid for a request that went away.
"""

from dataclasses import dataclass
from typing import Final

#: Tokens of a round for a flow of weight 1. A small one makes short turns; it costs nothing, since no round is walked.
QUANTUM: Final = 64


@dataclass(slots=True, eq=False)
class Flow:
    """One client, as the queue sees it; rounds are those of its priority, tokens are expected ones.

    ``round``: of its next request, without ``shift``; ``left``: tokens that it may still take in that round. ``order``
    breaks ties within a round. ``members``: its requests in the router, waiting or placed. ``debt`` in tokens; a credit
    where it is negative.
    """

    name: str = ""
    weight: int = 1
    priority: int = 0
    order: int = 0
    members: int = 0
    waiting: int = 0
    round: int = 0
    shift: int = 0
    left: int = 0
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
        is_alone = not flow.members and not ring.waiting  # nobody waits with whom it would have to share
        if is_alone or flow.round + flow.shift < ring.round:
            flow.round = ring.round - flow.shift  # unused rounds are no credit
            flow.left = flow.quantum
        flow.members += 1
        return flow.round

    def charge(self, flow: Flow, cost: int) -> int:
        """Charge a request that ``join`` counted and that begins to wait; return its round."""
        if not flow.waiting:
            self._orders += 1
            flow.order = self._orders
        flow.waiting += 1
        self._ring(flow).waiting += 1
        turn = flow.round
        flow.left -= cost + min(flow.debt, 0)
        flow.debt = max(flow.debt, 0)
        if flow.left <= 0:
            rounds = -flow.left // flow.quantum + 1
            flow.round += rounds
            flow.left += rounds * flow.quantum
        return turn

    def unwait(self, flow: Flow, turn: int) -> None:
        """Count a charged request that has got a backend; ``turn``: its round."""
        ring = self._ring(flow)
        flow.waiting -= 1
        ring.waiting -= 1
        ring.round = max(ring.round, turn + flow.shift)

    def go_away(self, flow: Flow, paid: int) -> None:
        """Count a charged request that waits no more and got no backend; ``paid`` is given back."""
        flow.waiting -= 1
        self._ring(flow).waiting -= 1
        self.settle(flow, -paid)

    def settle(self, flow: Flow, more: int) -> None:
        """Charge what an answer took more than it was charged with; less where ``more`` is negative."""
        flow.debt += more
        if flow.debt >= flow.quantum:
            rounds, flow.debt = divmod(flow.debt, flow.quantum)
            flow.shift += rounds

    def leave(self, flow: Flow) -> None:
        """Count the end of a request."""
        flow.members -= 1
        if not flow.members:
            rounds, flow.debt = divmod(flow.debt, flow.quantum)
            flow.round, flow.shift = flow.round + flow.shift + rounds, 0

    def _ring(self, flow: Flow) -> Ring:
        ring = self._rings.get(flow.priority)
        if ring is None:
            ring = self._rings[flow.priority] = Ring()
        return ring

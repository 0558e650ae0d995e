"""Whatever clients do, in whatever order: the rules of the fair queue hold after every step."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llama_serving.gateway.routing.fair.flow import QUANTUM, Flow
from llama_serving.gateway.routing.fair.lengths import Lengths
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import endpoint

ADAPTERS = (None, "x", "y")


class ClientsMachine(RuleBasedStateMachine):
    """Several clients with weights and priorities at one router with one group, which has the adapter x."""

    @initialize(
        flows=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), min_size=1, max_size=4),
        slots=st.integers(1, 3),
        queue=st.integers(1, 8),
    )
    def start(self, flows: list[tuple[int, int]], slots: int, queue: int) -> None:
        self.flows = [Flow(str(number), weight, priority) for number, (weight, priority) in enumerate(flows)]
        self.router = Router(Limits(slots, queue, 50, 4, 1))
        self.router.update([endpoint("a", x="1")], 0.0)
        self.tickets: list[Ticket] = []
        self.served: list[Ticket] = []

    @rule(data=st.data(), cost=st.integers(0, 5 * QUANTUM), adapter=st.sampled_from(ADAPTERS))
    def arrive(self, data: st.DataObject, cost: int, adapter: str | None) -> None:
        flow = data.draw(st.sampled_from(self.flows))
        before = Counter(ticket.flow for ticket in self.router.queue)
        ticket = self.router.admit(0.0, RequestSize(cost, 0), adapter=adapter, flow=flow)
        dropped = [one for one, _ in self.router.dropped]
        self.router.dropped.clear()
        if isinstance(ticket, QueueFull):
            stranded = adapter == "y"
            assert stranded or before[flow] + 1 >= max(before.values()), "refused beside a client with more"
            return
        self.tickets.append(ticket)
        for one in dropped:
            assert sum(before.values()) == self.router.limits.max_queue_length, "dropped although there was room"
            assert before[one.flow] == max(before.values()) > before[flow] + 1
            assert one.seq == max(t.seq for t in self.tickets if t.flow is one.flow and t.backend is None)
            self.tickets.remove(one)
            assert self.router.finish(one, 0.0) == []

    @precondition(lambda self: any(t.backend for t in self.tickets))
    @rule(data=st.data(), more=st.integers(-QUANTUM, 20 * QUANTUM))
    def end(self, data: st.DataObject, more: int) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend]))
        self.tickets.remove(ticket)
        self.router.settle(ticket, max(ticket.cost + more, 0))
        self.check(self.router.finish(ticket, 0.0))

    @precondition(lambda self: any(t.backend is None for t in self.tickets))
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend is None]))
        self.tickets.remove(ticket)
        assert self.router.finish(ticket, 0.0) == []

    @invariant()
    def a_free_slot_means_that_nobody_waits_who_may_use_it(self) -> None:
        """It is work conserving."""
        backend = self.router.backends["a"]
        if backend.in_flight < self.router.limits.max_in_flight:
            assert not any(ticket.may_use(backend) for ticket in self.router.queue)

    @invariant()
    def everybody_is_somewhere(self) -> None:
        waiting = [t.seq for t in self.router.queue]
        assert sorted(t.seq for t in self.tickets if t.backend is None) == waiting
        assert Counter(t.flow for t in self.tickets) == {f: f.members for f in self.flows if f.members}

    def teardown(self) -> None:
        """When no more come, everybody whose adapter is there is served."""
        if not hasattr(self, "router"):
            return
        while running := [t for t in self.tickets if t.backend]:
            self.tickets.remove(running[0])
            self.check(self.router.finish(running[0], 0.0))
        assert all(t.adapter == "y" for t in self.tickets), "somebody starves"

    def check(self, granted: list[Ticket]) -> None:
        """The order within a client is kept, and a higher priority goes first."""
        for ticket in granted:
            waiting = [t for t in self.tickets if t.backend is None and t.adapter != "y"]
            assert not any(t.flow is ticket.flow and t.seq < ticket.seq for t in waiting), "overtook its own client's"
            assert not any(t.flow.priority > ticket.flow.priority for t in waiting), "overtook a higher priority"


ClientsMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestClients = ClientsMachine.TestCase


@given(
    costs=st.lists(st.lists(st.integers(1, 4 * QUANTUM), min_size=30, max_size=30), min_size=2, max_size=4),
    weights=st.lists(st.integers(1, 4), min_size=4, max_size=4),
)
def test_no_client_is_served_more_than_its_share_while_all_wait(costs: list[list[int]], weights: list[int]) -> None:
    """Served tokens by weight differ by at most a quantum and the largest request, as Shreedhar and Varghese prove."""
    router = Router(Limits(1, 10_000, 1e9, 4, 1))
    router.update([endpoint("a")], 0.0)
    first = router.admit(0.0, RequestSize(1, 0))
    flows = [Flow(str(number), weights[number]) for number in range(len(costs))]
    for turn in range(30):
        for flow, of_flow in zip(flows, costs, strict=True):
            router.admit(0.0, RequestSize(of_flow[turn], 0), flow=flow)
    assert isinstance(first, Ticket)
    served = dict.fromkeys(flows, 0)
    waits = dict.fromkeys(flows, 30)
    granted = router.finish(first, 0.0)
    while granted and all(waits.values()):
        ticket = granted[0]
        served[ticket.flow] += ticket.cost
        waits[ticket.flow] -= 1
        ratios = [tokens / flow.weight for flow, tokens in served.items()]
        assert max(ratios) - min(ratios) <= 2 * (QUANTUM + 4 * QUANTUM)
        granted = router.finish(ticket, 0.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_the_longest_line_is_known(steps: list[tuple[int, bool]]) -> None:
    flows = [Flow(str(number)) for number in range(4)]
    lengths, counts = Lengths(), Counter[Flow]()
    for number, adds in steps:
        flow = flows[number]
        if adds:
            lengths.add(flow)
            counts[flow] += 1
        elif counts[flow]:
            lengths.remove(flow)
            counts[flow] -= 1
        assert lengths.longest == max(counts.values(), default=0)
        assert not lengths.longest or counts[lengths.flow()] == lengths.longest
        assert all(lengths.of(one) == counts[one] for one in flows)

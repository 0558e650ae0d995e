"""Whatever happens, in whatever order: the rules of the router hold after every step."""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import endpoint

NAMES = ("a", "b", "c")
WEIGHTS = ("w1", "w2")
ADAPTERS = ("x", "y")
#: What a group is, as discovery says it: ready, its weights, its adapters.
GROUPS = st.tuples(
    st.booleans(), st.sampled_from(WEIGHTS), st.dictionaries(st.sampled_from(ADAPTERS), st.sampled_from(["1", "2"]))
)
State = tuple[bool, str, dict[str, str]]
FAULTS = st.one_of(
    st.builds(
        AttemptFault, st.sampled_from([FaultKind.CONNECT, FaultKind.RESET, FaultKind.PROTOCOL_ERROR]), st.just("broke")
    ),
    st.builds(AttemptFault, st.just(FaultKind.STATUS), st.just("answered"), st.sampled_from([500, 502, 503, 504])),
    st.just(AttemptFault(FaultKind.READ_TIMEOUT, "silent")),
    st.just(AttemptFault(FaultKind.ADAPTER_ABSENT, "has it not", 409)),
)


class RouterMachine(RuleBasedStateMachine):
    """Drives a router as the proxy does, and keeps its own books."""

    @initialize(in_flight=st.integers(1, 3), waiting=st.integers(0, 5), groups=st.sets(st.sampled_from(NAMES)))
    def start(self, in_flight: int, waiting: int, groups: set[str]) -> None:
        self.now = 0.0
        self.router = Router(
            Limits(max_in_flight=in_flight, max_queue_length=waiting, queue_timeout=50, max_retries=4, ejection=1)
        )
        self.tickets: list[Ticket] = []
        self.probes: list[tuple[object, int]] = []
        self.update({name: (True, "w1", {"x": "1"}) for name in groups})

    @rule(states=st.dictionaries(st.sampled_from(NAMES), GROUPS))
    def discover(self, states: dict[str, State]) -> None:
        self.update(states)

    @rule(
        size=st.none() | st.builds(RequestSize, st.integers(0, 9), st.integers(0, 9)),
        adapter=st.none() | st.sampled_from(ADAPTERS),
    )
    def arrive(self, size: RequestSize | None, adapter: str | None) -> None:
        waiting, most = len(self.router.queue), self.router.limits.max_queue_length
        ticket = self.router.admit(self.now, size, adapter=adapter)
        if isinstance(ticket, QueueFull):
            stranded = [t for t in self.router.queue if t.adapter and not self.held(t.adapter)]
            mine = adapter is not None and not self.held(adapter)
            assert waiting >= most or (mine and 2 * len(stranded) >= most), "refused although there was room"
            refused = Ticket(seq=0, arrived=0, adapter=adapter)
            assert not any(
                self.free(key) and refused.may_use(backend) for key, backend in self.router.backends.items()
            ), "refused beside a free slot"
        else:
            self.tickets.append(ticket)

    @precondition(lambda self: any(t.backend for t in self.tickets))
    @rule(data=st.data(), fault=FAULTS)
    def break_attempt(self, data: st.DataObject, fault: AttemptFault) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend]))
        if self.router.may_retry(ticket, fault, self.now):
            self.check_order(self.router.requeue(ticket, self.now), also=ticket)
        else:
            self.end(ticket)

    @precondition(lambda self: any(t.backend for t in self.tickets))
    @rule(data=st.data(), fault=st.sampled_from([FaultKind.STREAM_BROKEN, FaultKind.DIFFERS, None]))
    def break_stream(self, data: st.DataObject, fault: FaultKind | None) -> None:
        """A stream breaks off, or is moved: from now on only the same weights will do."""
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend]))
        assert ticket.backend is not None
        ticket.weights, ticket.tries.answer_begun = ticket.weights or ticket.backend.endpoint.weights, True
        if ticket.adapter is not None and ticket.adapter_id is None:
            ticket.adapter_id = ticket.backend.endpoint.adapters.get(ticket.adapter, "gone")
        if fault is None or self.router.may_retry(ticket, AttemptFault(fault, "broke off"), self.now):
            self.check_order(self.router.requeue(ticket, self.now), also=ticket)
        else:
            self.end(ticket)

    @precondition(lambda self: any(t.backend for t in self.tickets))
    @rule(data=st.data(), good=st.booleans())
    def answer(self, data: st.DataObject, good: bool) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend]))
        self.check_order(self.router.answered(ticket, self.now, good=good))
        if good:
            self.router.completed(ticket, self.now)
        self.end(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.tickets)))

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(good=st.sampled_from([True, False, None]))
    def probe(self, good: bool | None) -> None:
        for backend, token in self.router.due_probes(self.now):
            self.check_order(self.router.probed(backend, token=token, good=good, now=self.now))

    @rule()
    def ask_again_for_adapters(self) -> None:
        self.check_order(self.router.recheck(self.now))

    def teardown(self) -> None:
        """In the end, when all groups work, nobody starves and all counts return to zero."""
        if not hasattr(self, "router"):
            return
        for ready in (False, True):
            whole: list[dict[str, str]] = [{"x": "1", "y": "1"}, {"x": "2", "y": "1"}, {"x": "1", "y": "2"}]
            states = zip(NAMES, ("w1", "w2", "w1"), whole, strict=True)
            self.update({name: (ready, weights, adapters) for name, weights, adapters in states})
        for ticket in [t for t in self.tickets if t.adapter_id is not None]:
            self.end(ticket)  # of a stream that has begun, perhaps with what is nowhere any more
        for _ in range(len(self.tickets) + 1):
            for ticket in [t for t in self.tickets if t.backend]:
                self.check_order(self.router.answered(ticket, self.now))
                self.end(ticket)
        assert self.tickets == [], "somebody still waits although all groups are free"
        assert len(self.router.queue) == 0
        assert [backend.in_flight for backend in self.router.backends.values()] == [0] * len(NAMES)

    @invariant()
    def counts_are_right(self) -> None:
        for key, backend in self.router.backends.items():
            assert backend.in_flight == sum(t.backend is backend for t in self.tickets), key
            assert 0 <= backend.in_flight <= self.router.limits.max_in_flight, key
            mine = Counter(t.adapter for t in self.tickets if t.backend is backend and t.adapter)
            assert backend.by_adapter == mine, key
            assert not backend.gone or backend.in_flight, f"{key} is gone and still listed"

    @invariant()
    def the_sum_of_what_waits_is_right(self) -> None:
        sizes = [ticket.size for ticket in self.router.queue if ticket.size is not None]
        work = self.router.queue.work
        assert (work.requests, work.prompt_tokens, work.answer_tokens) == (
            len(sizes),
            sum(size.prompt_tokens for size in sizes),
            sum(size.answer_tokens for size in sizes),
        )
        assert self.router.in_flight() == sum(t.backend is not None and t.size is not None for t in self.tickets)

    @invariant()
    def the_demand_for_adapters_is_right(self) -> None:
        uses = self.router.demand.uses(self.router.queue, self.router.backends.values())
        for name, use in uses.items():
            mine = [t for t in self.tickets if t.adapter == name]
            assert (use.waiting, use.in_flight) == (sum(t.is_queued for t in mine), sum(not t.is_queued for t in mine))
        assert {t.adapter for t in self.tickets if t.adapter} <= uses.keys()

    @invariant()
    def only_work_waits_for_long(self) -> None:
        since = [t.waiting_since for t in self.tickets if t.waiting_since is not None and t.size is not None]
        assert self.router.oldest_wait(self.now) == (self.now - min(since) if since else 0.0)

    @invariant()
    def everybody_is_somewhere(self) -> None:
        waiting = list(self.router.queue)
        assert sorted(t.seq for t in self.tickets if t.backend is None) == [t.seq for t in waiting]
        assert all((t.waiting_since is None) == (t.backend is not None) for t in self.tickets)

    @invariant()
    def a_free_slot_means_that_nobody_may_use_it(self) -> None:
        for key, backend in self.router.backends.items():
            if self.free(key):
                assert not any(ticket.may_use(backend) for ticket in self.router.queue), key

    @invariant()
    def what_is_ejected_will_be_probed(self) -> None:
        for backend in self.router.backends.values():
            assert not backend.health.ejected or backend.health.probe_at is not None

    @invariant()
    def strikes_leave_somebody(self) -> None:
        serving = [backend for backend in self.router.backends.values() if backend.would_serve]
        assert not serving or any(backend.is_routable for backend in serving)

    @invariant()
    def nobody_waits_who_is_known_to_be_the_cause(self) -> None:
        assert not any(ticket.charges.make_it_the_cause or ticket.is_cause for ticket in self.router.queue)

    def update(self, states: dict[str, State]) -> None:
        endpoints = [
            replace(endpoint(name, ready=ready, weights=weights), adapters=adapters)
            for name, (ready, weights, adapters) in states.items()
        ]
        self.check_order(self.router.update(endpoints, self.now))

    def end(self, ticket: Ticket) -> None:
        self.tickets.remove(ticket)
        self.check_order(self.router.finish(ticket, self.now))
        assert self.router.finish(ticket, self.now) == []

    def free(self, key: str) -> bool:
        backend = self.router.backends[key]
        return backend.is_routable and backend.in_flight < self.router.limits.max_in_flight

    def held(self, adapter: str) -> bool:
        """Whether a ready group has the adapter; before any group is ready nobody is set back."""
        ready = [b for b in self.router.backends.values() if b.endpoint.ready and not b.gone]
        return not ready or any(adapter in backend.endpoint.adapters for backend in ready)

    def check_order(self, granted: list[Ticket], also: Ticket | None = None) -> None:
        """Nobody was placed before an older request that may use the same group."""
        for ticket in granted:
            if ticket.is_cause:
                assert ticket.backend is None
                self.end(ticket)
                continue
            assert ticket.backend is not None
            assert ticket.weights in (None, ticket.backend.endpoint.weights), "went on with other weights"
            id_there = ticket.backend.endpoint.adapters.get(ticket.adapter or "")
            assert ticket.adapter is None or id_there is not None, "was placed where its adapter is not"
            assert ticket.adapter_id in (None, id_there), "went on with another version of its adapter"
            older = [t for t in self.tickets if t.backend is None and t.seq < ticket.seq]
            assert not any(t.may_use(ticket.backend) for t in older if t is not also)


RouterMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRouter = RouterMachine.TestCase

"""Whatever happens, in whatever order: the rules of the router hold after every step."""

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
FAULTS = st.one_of(
    st.builds(
        AttemptFault, st.sampled_from([FaultKind.CONNECT, FaultKind.RESET, FaultKind.PROTOCOL_ERROR]), st.just("broke")
    ),
    st.builds(AttemptFault, st.just(FaultKind.STATUS), st.just("answered"), st.sampled_from([500, 502, 503, 504])),
    st.just(AttemptFault(FaultKind.READ_TIMEOUT, "silent")),
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
        self.update(dict.fromkeys(groups, (True, "w1")))

    @rule(states=st.dictionaries(st.sampled_from(NAMES), st.tuples(st.booleans(), st.sampled_from(WEIGHTS))))
    def discover(self, states: dict[str, tuple[bool, str]]) -> None:
        self.update(states)

    @rule(size=st.none() | st.builds(RequestSize, st.integers(0, 9), st.integers(0, 9)))
    def arrive(self, size: RequestSize | None) -> None:
        waiting = len(self.router.queue)
        ticket = self.router.admit(self.now, size)
        if isinstance(ticket, QueueFull):
            assert waiting >= self.router.limits.max_queue_length, "refused although there was room"
            assert not any(self.free(backend.key) for backend in self.router.backends.values()), (
                "refused beside a free slot"
            )
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
        if fault is None or self.router.may_retry(ticket, AttemptFault(fault, "broke off"), self.now):
            self.check_order(self.router.requeue(ticket, self.now), also=ticket)
        else:
            self.end(ticket)

    @precondition(lambda self: any(t.backend for t in self.tickets))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.backend]))
        self.router.answered(ticket)
        self.end(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.tickets)))

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(good=st.booleans())
    def probe(self, good: bool) -> None:
        for backend, token in self.router.due_probes(self.now):
            self.check_order(self.router.probed(backend, token=token, good=good, now=self.now))

    def teardown(self) -> None:
        """In the end, when all groups work, nobody starves and all counts return to zero."""
        if not hasattr(self, "router"):
            return
        for ready in (False, True):
            self.update({"a": (ready, "w1"), "b": (ready, "w2"), "c": (ready, "w1")})
        for _ in range(len(self.tickets) + 1):
            for ticket in [t for t in self.tickets if t.backend]:
                self.router.answered(ticket)
                self.end(ticket)
        assert self.tickets == [], "somebody still waits although all groups are free"
        assert len(self.router.queue) == 0
        assert [backend.in_flight for backend in self.router.backends.values()] == [0] * len(NAMES)

    @invariant()
    def counts_are_right(self) -> None:
        for key, backend in self.router.backends.items():
            assert backend.in_flight == sum(t.backend is backend for t in self.tickets), key
            assert 0 <= backend.in_flight <= self.router.limits.max_in_flight, key
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

    def update(self, states: dict[str, tuple[bool, str]]) -> None:
        endpoints = [endpoint(name, ready=ready, weights=weights) for name, (ready, weights) in states.items()]
        self.check_order(self.router.update(endpoints, self.now))

    def end(self, ticket: Ticket) -> None:
        self.tickets.remove(ticket)
        self.check_order(self.router.finish(ticket, self.now))
        assert self.router.finish(ticket, self.now) == []

    def free(self, key: str) -> bool:
        backend = self.router.backends[key]
        return backend.is_routable and backend.in_flight < self.router.limits.max_in_flight

    def check_order(self, granted: list[Ticket], also: Ticket | None = None) -> None:
        """Nobody was placed before an older request that may use the same group."""
        for ticket in granted:
            assert ticket.backend is not None
            assert ticket.weights in (None, ticket.backend.endpoint.weights), "went on with other weights"
            older = [t for t in self.tickets if t.backend is None and t.seq < ticket.seq]
            assert not any(t.may_use(ticket.backend) for t in older if t is not also)


RouterMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRouter = RouterMachine.TestCase

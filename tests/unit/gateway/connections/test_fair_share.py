"""Shares of a busy loop: who takes little never waits, the others get the same, and nobody is forgotten."""

import heapq
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.gateway.connections.fair_share import CAPACITY, FairShare


@dataclass(frozen=True)
class Demand:
    """Connections of a peer: each takes ``cost`` seconds of the loop, ``gap`` seconds after the last time."""

    connections: int
    cost: float
    gap: float = 0.0
    until: float = float("inf")


@dataclass(eq=False)
class Connection:
    peer: str
    loop: "Loop"
    held_at: float | None = None
    longest: float = 0.0
    turns: int = 0

    def read_on(self) -> None:
        assert self.held_at is not None, "it did not wait"
        self.longest = max(self.longest, self.loop.now - self.held_at)
        self.held_at = None
        self.loop.ready_at(self.loop.now, self)


@dataclass
class Loop:
    """A loop with connections, in made-up time: one turn after the other, in the order in which they came."""

    demands: dict[str, Demand]
    beside: float = 0.0  # part of the time that other work takes
    now: float = 0.0
    idle: float = 0.0
    taken: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.share = FairShare(clock=lambda: self.now, idle=lambda: self.idle)
        self._queue: list[tuple[float, int, Connection]] = []
        self._order = itertools.count()
        self._look_at = self._beside_at = 0.0
        self.connections = [
            Connection(peer, self) for peer, one in self.demands.items() for _ in range(one.connections)
        ]
        for connection in self.connections:
            self.ready_at(0.0, connection)

    def ready_at(self, at: float, connection: Connection) -> None:
        heapq.heappush(self._queue, (at, next(self._order), connection))

    def run(self, until: float) -> None:
        """Run; ``taken`` is what was taken meanwhile, as a part of the time."""
        taken, begun = dict.fromkeys(self.demands, 0.0), self.now
        while self.now < until:
            if self._look_at <= self.now:
                self.share.look()
                self._look_at = self.now + self.share.period
            if self.beside and self._beside_at <= self.now:
                self.now += 0.01 * self.beside
                self._beside_at = max(self._beside_at + 0.01, self.now - 0.01)
            if self._queue and self._queue[0][0] <= self.now:
                connection = heapq.heappop(self._queue)[2]
                taken[connection.peer] += self._turn(connection)
            else:
                times = [
                    self._look_at,
                    *([self._beside_at] if self.beside else []),
                    *(one[0] for one in self._queue[:1]),
                ]
                upto = max(min(times), self.now)
                self.idle += upto - self.now
                self.now = upto
        self.taken = {peer: seconds / (self.now - begun) for peer, seconds in taken.items()}

    def _turn(self, connection: Connection) -> float:
        demand = self.demands[connection.peer]
        if self.now > demand.until:
            return 0.0
        self.now += demand.cost
        connection.turns += 1
        if self.share.is_busy:
            self.share.note(connection.peer, demand.cost)
        if self.share.must_wait(connection):
            connection.held_at = self.now
        else:
            self.ready_at(self.now + demand.gap, connection)
        return demand.cost

    def longest_wait(self, peer: str) -> float:
        return max(one.longest if one.held_at is None else self.now - one.held_at for one in self.of(peer))

    def of(self, peer: str) -> list[Connection]:
        return [one for one in self.connections if one.peer == peer]


def test_a_loop_with_time_to_spare_lets_nobody_wait() -> None:
    loop = Loop({"a": Demand(4, 0.002, 0.02), "b": Demand(2, 0.001, 0.02)})
    loop.run(10.0)
    assert not loop.share.is_busy
    assert loop.longest_wait("a") == loop.longest_wait("b") == 0


def test_a_single_peer_never_waits() -> None:
    loop = Loop({"a": Demand(20, 0.003)})
    loop.run(10.0)
    assert loop.share.is_busy
    assert loop.longest_wait("a") == 0
    assert loop.taken["a"] == pytest.approx(1.0, abs=0.01)


def test_who_takes_little_never_waits_and_the_others_leave_time() -> None:
    loop = Loop({"heavy": Demand(20, 0.003), "light": Demand(5, 0.001, 0.1)})
    loop.run(2.0)
    loop.run(12.0)
    assert loop.longest_wait("light") == 0
    assert loop.taken["light"] == pytest.approx(5 * 0.001 / 0.101, rel=0.1)
    assert loop.taken["heavy"] == pytest.approx(CAPACITY - loop.taken["light"], abs=0.06)


def test_those_who_wait_get_the_same_time_whatever_a_turn_costs() -> None:
    loop = Loop({"dear": Demand(4, 0.02), "usual": Demand(30, 0.002), "cheap": Demand(200, 0.0003)})
    loop.run(3.0)
    loop.run(23.0)
    parts = loop.taken.values()
    assert sum(parts) == pytest.approx(CAPACITY, abs=0.06)
    assert min(parts) > 0.8 * max(parts)


def test_many_peers_that_want_too_much_together_get_the_same() -> None:
    loop = Loop({f"10.0.{number}": Demand(1, 0.001) for number in range(400)})
    loop.run(5.0)
    before = {one.peer: one.turns for one in loop.connections}
    loop.run(25.0)
    turns = [one.turns - before[one.peer] for one in loop.connections]
    assert sum(loop.taken.values()) == pytest.approx(CAPACITY, abs=0.1)
    assert min(turns) > 0.7 * max(turns)


def test_who_waits_is_read_on_though_other_work_takes_all_the_time() -> None:
    loop = Loop({"a": Demand(5, 0.002), "b": Demand(5, 0.002)}, beside=2.0)
    loop.run(3.0)
    before = [one.turns for one in loop.connections]
    loop.run(23.0)
    assert all(one.turns > was for one, was in zip(loop.connections, before, strict=True))


class Recorded:
    """A connection that counts how often it was read."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.turns = 0

    def read_on(self) -> None:
        self.turns += 1


def test_work_of_requests_that_go_on_while_their_peer_waits_starves_nobody() -> None:
    now = [0.0]
    share = FairShare(clock=lambda: now[0], idle=lambda: 0.0)
    long, short = Recorded("long"), Recorded("short")
    for _ in range(300):
        now[0] += 0.01
        share.look()
        share.note("long", 0.006)
        share.note("short", 0.006)
    for _ in range(6):
        before = long.turns, short.turns
        for _ in range(1000):
            now[0] += 0.01
            share.note("long", 0.006, turns=0)  # of its requests: none of its connections is read
            for connection in (long, short):
                if not share.must_wait(connection):
                    connection.turns += 1
                    share.note(connection.peer, 0.0005)
            share.look()
        assert long.turns > before[0]
        assert short.turns > before[1] + 10


def test_when_it_stops_all_are_read_on_and_nobody_waits_any_more() -> None:
    loop = Loop({"a": Demand(10, 0.003), "b": Demand(10, 0.003)})
    loop.run(3.0)
    assert loop.share.waiting > 0
    assert loop.share.stop()
    assert not loop.share.stop()
    assert all(one.held_at is None for one in loop.connections)
    loop.run(6.0)
    assert loop.share.waiting == 0
    assert loop.taken["a"] + loop.taken["b"] == pytest.approx(1.0, abs=0.01)


def test_the_last_one_there_waits_no_more() -> None:
    loop = Loop({"stays": Demand(10, 0.003), "leaves": Demand(10, 0.003, until=5.0)})
    loop.run(5.0)
    assert loop.taken["stays"] < CAPACITY
    loop.run(10.0)
    loop.run(15.0)
    assert loop.taken["stays"] > 0.97


def test_a_connection_that_ends_while_it_waits_is_not_read_on() -> None:
    loop = Loop({"a": Demand(10, 0.003), "b": Demand(10, 0.003)})
    loop.run(3.0)
    gone = [one for one in loop.connections if one.held_at is not None]
    assert gone
    for connection in gone:
        loop.share.remove(connection)
        loop.share.remove(connection)
    assert loop.share.waiting == 0
    loop.run(6.0)
    assert all(one.held_at is not None for one in gone)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.builds(
            Demand,
            connections=st.integers(1, 12),
            cost=st.sampled_from([0.0001, 0.001, 0.004, 0.02]),
            gap=st.sampled_from([0.0, 0.001, 0.05, 1.0]),
            until=st.sampled_from([1.0, 4.0, 8.0]),
        ),
        min_size=1,
    ),
    st.sampled_from([0.0, 0.3, 0.9]),
)
def test_everybody_is_read_on_in_the_end(demands: dict[str, Demand], beside: float) -> None:
    loop = Loop(demands, beside=beside)
    for until in (2.0, 5.0, 9.0):
        loop.run(until)
        assert loop.share.waiting == sum(one.held_at is not None for one in loop.connections)
    loop.beside = 0.0
    loop.run(60.0)
    assert loop.share.waiting == 0
    assert not loop.share.is_busy
    assert [one for one in loop.connections if one.held_at is not None] == []

"""From zero groups: whoever asks, is sent away while a group starts, and comes back, is answered.

A client waits ``patience`` seconds in the gateway's queue (its own or the gateway's limit), leaves with 503, and asks
again ``retry`` seconds later until it is answered. Time passes in steps, which the readings span.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.owed import LATENESS, RETURN, Owed, Remembered, owed_after
from llama_operator.plan.autoscaling.policy import Decision, decide
from llama_operator.plan.autoscaling.state import DurableState, PolicyState

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FIRST = 60.0  # seconds until the first client asks
WORK = 20.0  # seconds that an answer takes


@dataclass
class Client:
    """Asks until it is answered."""

    patience: float
    retry: float
    asks_at: float = FIRST
    since: float | None = None  # waits
    done_at: float | None = None  # its answer ends
    sent_away: int = 0


@dataclass
class ZeroBed:
    """A deployment whose groups take ``start`` seconds; at most ``ceiling`` of them."""

    start: float
    clients: list[Client]
    limits: Limits
    step: float
    works: Callable[[float], bool] = lambda _: True  # whether a group that was made then ever serves
    state: PolicyState = field(default_factory=lambda: PolicyState(DurableState(target=0)))
    made: list[float] = field(default_factory=list)  # when each group was made
    starts: list[float] = field(default_factory=list)
    time: float = 0.0
    decision: Decision | None = None

    def serving(self) -> int:
        return sum(self.time - made >= self.start and self.works(made) for made in self.made)

    def second(self) -> None:
        self.time += self.step
        arrived = sum(
            client.since is None and client.asks_at <= self.time for client in self.clients if not client.done_at
        )
        served, serving = 0, self.serving()
        for client in self.clients:
            served += self._ask(client, serving)
        waiting = sum(client.since is not None for client in self.clients)
        in_flight = sum(client.done_at is not None and client.done_at > self.time for client in self.clients)
        load = Load(
            known=True, span=self.step, waiting=waiting, in_flight=in_flight, arrived=arrived, served=served,
            served_answer_tokens=100 * served, served_seconds=WORK * served, waiting_answer_tokens=100 * waiting,
        )  # fmt: skip
        ages = tuple(
            self.time - made for made in self.made if not (self.time - made >= self.start and self.works(made))
        )
        now = NOW + timedelta(seconds=self.time)
        self.decision = decide(load, GroupCounts(serving, ages), state=self.state, limits=self.limits, now=now)
        self.state, target = self.decision.state, self.decision.target
        while len(self.made) < target:
            self.made.append(self.time)
            self.starts.append(self.time)
        self.made = sorted(self.made)[:target]

    def _ask(self, client: Client, serving: int) -> int:
        """Move a client on; 1 when its answer ends now."""
        if client.done_at is not None:
            return int(client.done_at <= self.time < client.done_at + self.step)
        if client.since is None and client.asks_at <= self.time:
            client.since = self.time
        if client.since is None:
            return 0
        if serving:
            client.done_at, client.since = self.time + WORK, None
        elif self.time - client.since >= client.patience:
            client.since, client.asks_at = None, self.time + client.retry
            client.sent_away += 1
        return 0

    def answered(self) -> bool:
        return all(client.done_at is not None for client in self.clients)

    def run(self, seconds: float) -> None:
        until = self.time + seconds
        while self.time < until and not self.answered():
            self.second()

    def restart_operator(self) -> None:
        """All that is left is in the status."""
        self.state = PolicyState(self.state.durable)


def bed(start: float, clients: list[Client], *, idle_after: float = 600.0, **fields: Any) -> ZeroBed:
    limits = Limits(floor=0, ceiling=4, slots=8, idle_after=idle_after, start=60.0)
    shortest = min([start, idle_after, *(one.patience for one in clients), *(one.retry for one in clients)])
    return ZeroBed(start, clients, replace(limits, **fields), step=min(max(1.0, shortest / 6), 30.0))


STARTS = (10.0, 60.0, 300.0, 900.0, 2400.0)
WAITS = (30.0, 300.0, 900.0, 3600.0)


@pytest.mark.parametrize("idle_after", [60.0, 600.0, 3600.0])
@pytest.mark.parametrize("start", STARTS)
def test_a_client_that_comes_back_is_answered_by_the_one_group_that_started(start: float, idle_after: float) -> None:
    for patience in WAITS:
        for retry in WAITS:
            town = bed(start, [Client(patience, retry)], idle_after=idle_after)
            town.run(FIRST + start + patience + retry + 10 * town.step)
            case = f"start {start}, patience {patience}, retry {retry}, idleAfter {idle_after}"
            assert town.answered(), case
            assert len(town.starts) == 1, f"{case}: {town.starts}"


@settings(deadline=None, max_examples=30)
@given(
    start=st.floats(10, 2400),
    idle_after=st.floats(30, 3600),
    clients=st.lists(st.tuples(st.floats(30, 3600), st.floats(30, 3600), st.floats(0, 3600)), min_size=1, max_size=12),
    restarts=st.lists(st.floats(0, 7200), max_size=2),
)
def test_every_client_is_answered_soon_after_the_start(
    *, start: float, idle_after: float, clients: list[tuple[float, float, float]], restarts: list[float]
) -> None:
    """Whatever the others do and whenever the operator is restarted: at its first return to groups that had started."""
    town = bed(start, [Client(patience, retry, FIRST + at) for patience, retry, at in clients], idle_after=idle_after)
    for moment in sorted(restarts):
        town.run(moment - town.time)
        town.restart_operator()
    latest = max(patience + retry + at for patience, retry, at in clients)
    town.run(FIRST + 2 * (start + latest) + 20 * town.step)
    assert town.answered(), [client for client in town.clients if client.done_at is None]


def test_the_last_group_goes_when_all_that_was_owed_is_answered() -> None:
    town = bed(300.0, [Client(30.0, 900.0)], idle_after=60.0)
    town.run(3000.0)
    assert town.answered()
    answered_at = town.clients[0].done_at
    assert answered_at is not None
    while town.made and town.time < 9000:
        town.second()
    assert town.decision is not None
    assert town.decision.reason == "Idle"
    assert town.time < answered_at + 60 + 300 + 5 * town.step, "idleAfterSeconds, or the window of a scale-down"


def test_a_client_that_never_comes_back_is_waited_for_an_hour() -> None:
    town = bed(300.0, [Client(30.0, 1e9)], idle_after=60.0)
    town.run(FIRST + 40.0)
    left = town.time
    assert town.clients[0].sent_away == 1
    reasons = set()
    while town.made:
        town.second()
        assert town.decision is not None
        reasons.add(town.decision.reason)
        assert town.time < 9000
    assert RETURN - 60 < town.time - left < RETURN + 60
    assert "AwaitsReturn" in reasons
    assert not town.state.durable.owed.requests
    assert len(town.starts) == 1


@pytest.mark.parametrize("served", [0, 1])
def test_a_restart_of_the_operator_makes_nothing_of_what_is_owed_longer(served: int) -> None:
    """One is owed; with one answered the group goes as an idle one, else an hour after the client left."""
    town = bed(300.0, [Client(30.0, 900.0 if served else 1e9)], idle_after=60.0)
    town.run(FIRST + 2000.0)
    assert town.clients[0].sent_away == 1
    left = FIRST + 30.0
    while town.made:
        town.restart_operator()
        for _ in range(200):
            town.second()
        assert town.time < 9000
    latest = left + (900.0 + 300.0 if served else RETURN) + 60.0 + 2 * 200 * town.step
    assert town.time < latest, town.time
    assert town.state.durable.owed == Remembered()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30),
)
def test_what_a_restart_finds_is_at_least_what_is_owed_and_at_most_twice_as_much(
    readings: list[tuple[int, int, int, bool]],
) -> None:
    owed, remembered, now = Owed(), Remembered(), NOW
    for arrived, waiting, served, serving in readings:
        now += timedelta(seconds=7.0)
        load = Load(known=True, span=7.0, waiting=waiting, arrived=arrived, served=served if serving else 0)
        owed = owed_after(owed, load, serving=int(serving))
        remembered = remembered.updated(owed, serving=int(serving), now=now)
        there = owed.requests + (0 if serving else waiting)
        assert there <= remembered.requests <= 2 * there
        assert abs(remembered.restored(now).since - owed.since) <= LATENESS or not there


@given(st.integers(1, 50), st.lists(st.sampled_from(["restart", "silent", "heard"]), max_size=20))
def test_restarts_while_requests_wait_count_none_of_them_twice(waiting: int, story: list[str]) -> None:
    owed, remembered, now = None, Remembered(), NOW
    for thing in ["heard", *story]:
        now += timedelta(seconds=7.0)
        owed = None if thing == "restart" else owed
        known = thing != "silent"
        load = Load(known=known, span=7.0 if known and owed else 0.0, waiting=waiting if known else 0)
        owed = owed_after(owed or remembered.restored(now), load, serving=0)
        remembered = remembered.updated(owed, serving=0, now=now)
        assert waiting <= remembered.requests <= 2 * waiting
    assert owed is not None
    answered = Load(known=True, span=7.0, served=remembered.requests)
    assert remembered.updated(owed_after(owed, answered, serving=1), serving=1, now=now) == Remembered()


def test_a_second_group_that_was_ordered_for_the_queue_starts_too() -> None:
    town = bed(900.0, [Client(60.0, 1200.0) for _ in range(20)], idle_after=60.0)
    town.run(FIRST + 120.0)
    ordered = len(town.made)
    assert ordered >= 2
    town.run(700.0)
    assert len(town.made) == ordered, "none is taken away before one serves"
    town.run(3000.0)
    assert town.answered()
    assert len(town.starts) == ordered


def test_with_a_minimum_nothing_changes() -> None:
    town = bed(300.0, [Client(30.0, 100.0)], idle_after=60.0, floor=1)
    town.run(2000.0)
    assert town.answered()
    assert {town.state.durable.failed_starts, len(town.starts)} == {0, 1}


def test_a_schedule_that_ends_takes_no_group_that_starts_for_a_request() -> None:
    town = bed(900.0, [Client(60.0, 1200.0)], idle_after=60.0, floor=1)
    town.run(FIRST + 200.0)
    assert town.made, "the schedule's"
    town.limits = replace(town.limits, floor=0)
    town.run(3000.0)
    assert town.answered()
    assert len(town.starts) == 1


def test_starts_in_vain_are_given_up_at_growing_pauses_and_said() -> None:
    town = bed(1e9, [Client(30.0, 60.0)], give_up=600.0)
    given_up: list[tuple[float, str]] = []
    while town.time < 30_000:
        before = len(town.made)
        town.second()
        assert town.decision is not None
        if before and not town.made:
            given_up.append((town.time, town.decision.message))
    pauses = [start - end for start, (end, _) in zip(town.starts[1:], given_up, strict=False)]
    assert len(given_up) >= 6
    assert all(
        600 <= end - start <= 600 + 2 * town.step for start, (end, _) in zip(town.starts, given_up, strict=False)
    )
    asked_again = 30.0 + 60.0 + 2 * town.step  # a client waits at each moment but for its pauses
    for number, pause in enumerate(pauses):
        least = min(60.0 * 2**number, 3600.0)
        assert least - town.step <= pause <= least + asked_again, pauses
    assert given_up[0][1].endswith("1 in a row; the next request starts another one in 60 s at the earliest")
    assert "did not serve within" in given_up[1][1]
    town.restart_operator()
    town.second()
    assert town.decision is not None
    if not town.made:
        assert town.decision.reason == "StartFailed", "the pause outlives the operator"


def test_a_start_that_succeeds_at_last_ends_the_pauses() -> None:
    town = bed(100.0, [Client(30.0, 60.0)], give_up=600.0)
    town.works = lambda made: made > 3000
    town.run(3000)
    assert town.state.durable.failed_starts > 0
    town.run(9000)
    assert town.answered()
    town.second()
    town.second()
    assert (town.state.durable.failed_starts, town.state.durable.gave_up) == (0, None)


def test_engines_that_fail_again_and_again_are_given_up_at_once() -> None:
    limits, state = Limits(floor=0, ceiling=4, slots=8), PolicyState(DurableState(target=1))
    load = Load(known=True, span=1.0, waiting=1)
    found = decide(load, GroupCounts(starting=(90.0,), failing=1), state=state, limits=limits, now=NOW)
    assert (found.target, found.reason, found.state.durable.failed_starts) == (0, "StartFailed", 1)
    kept = decide(load, GroupCounts(starting=(90.0, 20.0), failing=1), state=state, limits=limits, now=NOW)
    assert kept.target == 1, "another one may come to serve"
    floor = replace(limits, floor=1)
    assert decide(load, GroupCounts(starting=(90.0,), failing=1), state=state, limits=floor, now=NOW).target == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30))
def test_what_is_owed_is_never_negative_and_only_grows_while_nobody_serves(
    readings: list[tuple[int, int, int, bool]],
) -> None:
    owed = Owed()
    for arrived, waiting, served, serving in readings:
        load = Load(known=True, span=1.0, waiting=waiting, arrived=arrived, served=served if serving else 0)
        after = owed_after(owed, load, serving=int(serving))
        assert after.requests >= 0
        assert not serving or after.requests <= owed.requests
        owed = after
    silent = owed_after(owed, Load(known=False, span=1.0), serving=0)
    assert (silent.requests, silent.busy) == (owed.requests, owed.busy), "a silent gateway's requests did not leave"

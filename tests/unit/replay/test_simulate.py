"""The simulated gateway and groups: small worlds whose waits and costs can be counted by hand."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen, Static
from llama_operator.replay.simulate import Run, first_groups, simulate
from llama_operator.replay.traces import Request, Trace, load

#: Answers of n tokens take n seconds.
PLAIN = Parameters(slots=1, prefill=1e9, perToken=1.0, startDelay=10.0, minReplicas=0)


@dataclass
class Script:
    """Wants what it is told from given seconds on, and keeps what it saw."""

    wanted: dict[int, int]
    interval: float = 1.0
    seen: list[Seen] = field(default_factory=list)

    def watch(self, seen: Seen) -> None:
        self.seen.append(seen)

    def decide(self, seen: Seen) -> int:
        return self.wanted.get(round(seen.now), seen.target)


def trace(*requests: tuple[float, int], seconds: float = 100.0) -> Trace:
    return Trace("by hand", tuple(Request(at, 0, answer) for at, answer in requests), seconds)


def waits(run: Run) -> list[float]:
    return [round(one, 6) for one in run.waits]


def test_one_slot_serves_in_the_order_of_arrival() -> None:
    run = simulate(trace((0.5, 10), (1.5, 3), (2.5, 1)), PLAIN, Static(1), initial=1)
    assert waits(run) == [0.0, 9.0, 11.0]
    assert run.group_seconds == 100.0


def test_two_groups_take_two_at_once() -> None:
    run = simulate(trace((0.5, 10), (1.5, 3), (2.5, 1)), PLAIN, Static(2), initial=2)
    assert waits(run) == [0.0, 0.0, 2.0]
    assert run.group_seconds == 200.0


def test_a_full_batch_is_slower_by_the_slowdown() -> None:
    two = PLAIN.model_copy(update={"slots": 2, "slowdown": 1.0})
    run = simulate(trace((0.5, 10), (1.5, 10), (2.5, 1)), two, Static(1), initial=1)
    # The first runs alone, 10 s, until 10.5; the second beside it takes 20 s; the third waits for the first.
    assert waits(run) == [0.0, 0.0, 8.0]


def test_from_zero_a_request_waits_for_the_start() -> None:
    policy = Script({5: 1})
    run = simulate(trace((2.5, 1)), PLAIN, policy, initial=0)
    assert waits(run) == [12.5]
    assert run.group_seconds == 95.0
    assert [one.starts for one in policy.seen if one.starts] == [(10.0,)]


def test_what_is_never_served_has_no_end_of_waiting() -> None:
    assert simulate(trace((2.5, 1)), PLAIN, Script({}), initial=0).waits == (math.inf,)


def test_a_group_that_is_given_up_ends_what_it_has_and_costs_until_then() -> None:
    run = simulate(trace((0.5, 20), (30.5, 1)), PLAIN, Script({5: 0}), initial=1)
    assert waits(run) == [0.0, math.inf]
    assert run.group_seconds == 20.5


def test_a_draining_group_is_taken_back_at_once() -> None:
    run = simulate(trace((0.5, 20), (10.5, 1)), PLAIN, Script({5: 0, 12: 1}), initial=1)
    assert waits(run) == [0.0, 10.0]
    assert run.group_seconds == 100.0


def test_starting_groups_go_before_running_ones() -> None:
    policy = Script({5: 3, 8: 2, 9: 1})
    run = simulate(trace((0.5, 50)), PLAIN, policy, initial=1)
    assert run.group_seconds == 100.0 + (9 - 5) + (8 - 5)
    assert policy.seen[-1].groups.serving == 1


def test_a_reading_counts_the_last_second() -> None:
    policy = Script({})
    simulate(trace((0.2, 1), (0.7, 4), (1.2, 5)), PLAIN, policy, initial=1)
    first, second = policy.seen[0].load, policy.seen[1].load
    assert (first.arrived, first.in_flight, first.waiting) == (2, 1, 1)
    assert first.oldest_wait == pytest.approx(0.3)
    assert policy.seen[0].concurrency == pytest.approx(0.8 + 0.3)
    assert (second.arrived, second.served, second.served_answer_tokens) == (1, 1, 1)
    assert second.served_seconds == pytest.approx(1.0)


def test_a_policy_is_asked_at_its_interval_and_sees_every_second() -> None:
    asked: list[float] = []

    class Slow(Script):
        def decide(self, seen: Seen) -> int:
            asked.append(seen.now)
            return 1

    policy = Slow({}, interval=15.0)
    simulate(trace((0.5, 1)), PLAIN, policy, initial=1)
    assert asked == [1, 16, 31, 46, 61, 76, 91]
    assert len(policy.seen) == 100


def test_start_delays_can_vary_and_are_the_same_for_the_same_seed() -> None:
    varied = PLAIN.model_copy(update={"startSpread": 0.5})
    runs = [simulate(trace((2.5, 1)), varied, Script({5: 1}), initial=0, seed=seed).waits for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert all(7.5 <= one[0] <= 17.5 for one in runs)


def test_the_first_groups_hold_the_first_five_minutes() -> None:
    steady = trace(*((float(second), 8) for second in range(600)), seconds=600)
    # 8 requests at a time; at 80 % of one slot each that is 10 groups.
    assert first_groups(steady, PLAIN) == 10


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 3), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_wanted_nothing_is_lost_and_costs_are_bounded(wanted: list[int], slots: int, seed: int) -> None:
    some = load(f"gamma:1,2,60,{seed}")
    parameters = PLAIN.model_copy(update={"slots": slots, "perToken": 0.05})
    policy = Script({5 * index: number for index, number in enumerate(wanted, 1)})
    run = simulate(some, parameters, policy, initial=2, keep=True)
    served = [index for index, wait in enumerate(run.waits) if wait < math.inf]
    begins = [some.requests[index].arrival + run.waits[index] for index in served]
    assert begins == sorted(begins)
    assert served == list(range(len(served)))
    most = max([2, *wanted])
    assert all(point.in_flight <= slots * (point.serving + point.leaving) for point in run.points)
    assert run.group_seconds <= 60 * (2 + sum(wanted))
    assert all(point.serving + point.starting <= most for point in run.points)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(0, 5), st.floats(0.5, 59.5))
@settings(max_examples=60, deadline=None)
def test_a_warm_up_is_seen_by_the_policy_and_counted_in_nothing(wanted: list[int], seed: int, warmup: float) -> None:
    some = load(f"gamma:1,2,60,{seed}")
    parameters = PLAIN.model_copy(update={"slots": 1 + seed % 3, "perToken": 0.05})
    script = {5 * index: number for index, number in enumerate(wanted, 1)}
    policies = [Script(script) for _ in range(3)]
    before = some.part(0.0, warmup)
    whole = simulate(some, parameters, policies[0], initial=2)
    judged = simulate(some, parameters, policies[1], initial=2, warmup=warmup)
    past = simulate(before, parameters, policies[2], initial=2)
    assert policies[0].seen == policies[1].seen
    assert judged.waits == whole.waits[len(before.requests) :]
    assert judged.targets == whole.targets[math.ceil(warmup) - 1 :]
    assert judged.group_seconds + past.group_seconds == pytest.approx(whole.group_seconds)

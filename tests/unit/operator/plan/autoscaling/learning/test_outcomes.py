"""What would have come of a rule: the fluid model against the exact simulator, and what it must never get wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.learning.outcomes import ROWS, LateRequests, Outcomes, Second
from llama_operator.plan.autoscaling.learning.rules import RULES, ReactiveRule, RuleStates, Vector
from llama_operator.replay import traces
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Policy, Seen
from llama_operator.replay.simulate import Run, first_groups, simulate

#: Loads and starts with which several of the rules nearly keep the promise.
CELLS = (
    ("gamma:6,1,1200,3", 5.0),
    ("gamma:6,1,1200,3", 60.0),
    ("gamma:6,4,1200,3", 5.0),
    ("gamma:6,4,1200,3", 60.0),
    ("gamma:6,8,1200,4", 5.0),
    ("step:1,8,1600,3", 5.0),
)
FOLLOWED = ReactiveRule(0.7, 1, 300)
OTHERS = (
    ReactiveRule(0.6, 1, 60),
    ReactiveRule(0.9, 1, 300),
    ReactiveRule(0.8, 30, 300),
    ReactiveRule(1.0, 30, 900),
    ReactiveRule(0.5, 120, 60),
    ReactiveRule(0.7, 120, 900),
)


@dataclass
class Following:
    """A deployment that follows one rule, and counts what would have come of others."""

    parameters: Parameters
    rule: ReactiveRule
    groups: int
    others: tuple[ReactiveRule, ...] = ()
    interval: float = 1.0
    late: Vector = field(init=False)
    paid: Vector = field(init=False)
    before: int = 0
    served: float = 0.0
    seconds: float = 0.0
    wanted: float = 0.0

    @classmethod
    def alone(cls, rule: ReactiveRule, parameters: Parameters, groups: int) -> "Following":
        return cls(parameters, rule, groups)

    def __post_init__(self) -> None:
        slots = self.parameters.slots
        self.live = RuleStates(slots=slots, groups=self.groups, rules=(self.rule,))
        self.late = self.paid = np.zeros(len(self.others))
        if self.others:
            first = np.full(len(self.others), float(self.groups))
            delay, lags = self.parameters.startDelay, (self.parameters.wait,)
            self.would = RuleStates(slots=slots, groups=self.groups, rules=self.others)
            self.outcomes = Outcomes(first, slots=slots, delay=delay, lags=lags)

    def watch(self, seen: Seen) -> None:
        load = seen.load
        requests = float(load.in_flight + load.waiting)
        self.wanted = self.live.step(requests)[0]
        if self.others:
            self.served, self.seconds = self.served * 0.998 + load.served, self.seconds * 0.998 + load.served_seconds
            service = self.seconds / self.served if self.served else 10.0
            second = Second(load.arrived, (self.before + load.in_flight) / 2, requests, service)
            late, _ = self.outcomes.step(second)
            wanted = np.clip(self.would.step(self.outcomes.requests), 1, self.parameters.maxReplicas)
            self.late, self.paid = self.late + late[0], self.paid + self.outcomes.want(wanted)
        self.before = load.in_flight

    def decide(self, _seen: Seen) -> int:
        return int(min(max(self.wanted, 1), self.parameters.maxReplicas))


def run(load: str, delay: float, make: Callable[[Parameters, int], Policy]) -> tuple[Run, Policy, float]:
    trace, parameters = traces.load(load), Parameters(startDelay=delay)
    groups = first_groups(trace, parameters)
    policy = make(parameters, groups)
    return simulate(trace, parameters, policy, initial=groups), policy, parameters.wait


def share(found: Run, wait: float) -> float:
    return sum(one <= wait for one in found.waits) / len(found.waits)


@pytest.mark.parametrize(("load", "delay"), CELLS)
def test_rules_that_nearly_keep_the_promise_are_judged_as_the_exact_simulator_does(load: str, delay: float) -> None:
    def following(parameters: Parameters, groups: int) -> Following:
        return Following(parameters, FOLLOWED, groups, OTHERS)

    done, policy, wait = run(load, delay, following)
    assert isinstance(policy, Following)
    seen = []
    for place, rule in enumerate(OTHERS):
        exact, _, _ = run(load, delay, partial(Following.alone, rule))
        true = share(exact, wait)
        if true >= 0.95:
            fluid = 1 - policy.late[place] / len(done.waits)
            seen.append((str(rule), true, fluid, policy.paid[place] / exact.group_seconds))
    assert len(seen) >= 2, "too few rules nearly keep it: nothing is compared"
    assert [one for one in seen if abs(one[1] - one[2]) > 0.01 or abs(one[3] - 1) > 0.06] == []
    shares = sorted(abs(one[1] - one[2]) for one in seen)
    costs = sorted(abs(one[3] - 1) for one in seen)
    assert shares[len(seen) // 2] <= 0.005, seen
    assert costs[len(seen) // 2] <= 0.03, seen


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=120), st.integers(1, 20))
def test_groups_serve_after_a_start_and_the_last_ordered_goes_first(wanted: list[int], delay: int) -> None:
    outcomes = Outcomes(np.array([4.0]), slots=1, delay=delay, lags=(1.0,))
    path = [4] * delay
    for one in wanted:
        path.append(one)
        outcomes.want(np.array([float(one)]))
        assert outcomes.serving[0] == min(path[-delay:])


def test_a_long_start_has_no_more_rows_than_a_short_one_and_is_never_early() -> None:
    outcomes = Outcomes(np.array([1.0]), slots=1, delay=4 * ROWS, lags=(1.0,))
    for second in range(1, 5 * ROWS):
        outcomes.want(np.array([3.0]))
        assert outcomes.serving[0] == (3.0 if second > 4 * ROWS + 4 else outcomes.serving[0])
        assert outcomes.serving[0] == 1.0 or second >= 4 * ROWS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(1, 12))
def test_a_rule_with_the_groups_of_the_deployment_has_its_requests(arrivals: list[int], groups: int) -> None:
    outcomes = Outcomes(np.array([float(groups)]), slots=4, delay=1, lags=(2.0,))
    here, busy = 0.0, 0.0
    for arrived in arrivals:
        before, here = busy, max(0.0, here + arrived - busy / 5)
        busy = min(here, 4 * groups)
        outcomes.step(Second(arrived, (before + busy) / 2, here, 5.0))
        outcomes.want(np.array([float(groups)]))
        assert outcomes.requests[0] == pytest.approx(here, abs=1e-6)


def test_work_that_is_left_behind_is_done_in_the_end() -> None:
    outcomes = Outcomes(np.array([1.0, 10.0]), slots=4, delay=1, lags=(2.0,))
    for second in range(400):
        here = 20.0 if second < 60 else 0.0
        outcomes.step(Second(5.0 if second < 60 else 0.0, here, here, 4.0))
        outcomes.want(np.array([1.0, 10.0]))
    assert list(np.round(outcomes.requests, 3)) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("lag", "waiting", "late"),
    [
        (1.0, (0, 0, 0, 0), 0.0),
        (2.0, (10, 10, 0, 0), 5.0),
        (2.0, (10, 10, 10, 0), 10.0),
        (2.0, (10, 0, 0, 0), 0.0),
        (0.5, (10, 0, 0, 0), 10.0),
    ],
)
def test_late_is_what_has_not_begun_in_time(lag: float, waiting: tuple[int, ...], late: float) -> None:
    """Ten requests come in the first second, evenly: on average half a second before its end."""
    counter = LateRequests(1, (lag,))
    found = 0.0
    for second, left in enumerate(waiting):
        found += counter.judge(10.0 if not second else 0.0, np.array([float(left)]))[0][0][0]
    assert found == pytest.approx(late)


def test_every_rule_is_stepped_at_once() -> None:
    outcomes = Outcomes(np.ones(len(RULES)), slots=8, delay=60, lags=(5.0, 2.5))
    late, known = outcomes.step(Second(3, 2.0, 3.0, 8.0))
    assert [one.shape for one in late] == [(len(RULES),)] * 2
    assert len(known) == 2

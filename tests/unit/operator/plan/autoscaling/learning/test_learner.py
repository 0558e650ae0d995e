"""The learner: what it takes in, when it changes its mind, and that it keeps a promise which the formula breaks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.learning.formula import FORMULAS
from llama_operator.plan.autoscaling.learning.learner import MATURE, SETTLED, Learner, PromiseTerms
from llama_operator.plan.autoscaling.learning.rules import CAUTIOUS, RULES
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.ours import formula, ours
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Policy
from llama_operator.replay.simulate import first_groups, simulate
from llama_operator.replay.traces import Request, Trace, gamma

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LIMITS = Limits(floor=1, ceiling=30, slots=8)
TERMS = PromiseTerms(slots=8, wait=5.0, share=0.99)
STEADY = Load(
    known=True, span=1.0, in_flight=20, arrived=5, served=5, served_seconds=20.0, served_answer_tokens=500
)  # fmt: skip


def learner(rule: str = "", groups: int = 3) -> Learner:
    return Learner(TERMS, delay=60.0, groups=groups, rule=rule)


def observe(one: Learner, load: Load, second: float) -> None:
    one.observe(load, limits=LIMITS, delay=60.0, prefer_cost=False, at=NOW + timedelta(seconds=second))


def observed(*readings: Load) -> Learner:
    one, second = learner(), 0.0
    for reading in readings:
        second += reading.span
        observe(one, reading, second)
    return one


def test_while_little_is_known_the_cautious_rule_helps_once_requests_are_late() -> None:
    one = observed(*[STEADY] * 30)
    assert one.need is None
    for second in range(31, 45):
        observe(one, replace(STEADY, waiting=100), second)
    assert one.need is not None
    assert (one.need.groups, one.need.rule, one.need.with_formula) == (19, str(CAUTIOUS), True)
    assert one.following.rule == ""
    assert one.following.share is None


def test_a_steady_load_is_left_to_the_formula() -> None:
    one = observed(*[STEADY] * (int(MATURE) + 60))
    assert one.need is not None
    assert one.need.only_down
    assert one.following.rule.startswith("the formula")
    assert one.following.share == pytest.approx(1.0)
    assert one.kept.hour.share == pytest.approx(1.0)


def test_a_restart_goes_on_with_what_was_known_of_all_rules() -> None:
    """As long as the promise is the same."""
    bursts = [replace(STEADY, in_flight=20 + 60 * (second % 200 < 20)) for second in range(int(MATURE) + 60)]
    before = observed(*bursts)
    rule, record = before.following.rule, before.stored
    after = Learner(TERMS, delay=60.0, groups=3, rule=rule, record=record)
    assert (after.following.rule, after.following.seconds) == (rule, before.following.seconds)
    assert after.following.share == pytest.approx(before.following.share, rel=1e-3)
    assert after.following.formula_groups == pytest.approx(before.following.formula_groups, rel=1e-3)
    other = Learner(replace(TERMS, wait=6.0), delay=60.0, groups=3, rule=rule, record=record)
    assert other.following.share is None


@pytest.mark.parametrize("rule", [str(RULES[40]), str(FORMULAS[1])])
def test_a_restart_begins_with_the_rule_that_was_followed(rule: str) -> None:
    one = learner(rule, groups=9)
    for second in range(1, 30):
        observe(one, STEADY, second)
    assert one.following.rule == rule
    assert one.need is None or (one.need.rule == rule and one.need.groups >= 9), "nothing goes after a restart"


def test_a_rule_that_is_known_no_more_is_left_for_the_formula() -> None:
    assert learner("the rule of another version").following.rule == ""


def test_a_reading_that_was_seen_changes_nothing() -> None:
    once, twice = observed(*[STEADY] * 20), observed(*[STEADY] * 20)
    for _ in range(5):
        observe(twice, replace(STEADY, waiting=100, arrived=100), 20.0)
    assert twice.kept == once.kept
    assert twice.need == once.need


def test_a_lower_bound_is_not_judged() -> None:
    one, other = observed(*[STEADY] * 20), observed(*[STEADY] * 20)
    observe(other, Load(known=False, span=1.0, arrived=0), 21.0)
    assert other.kept == one.kept
    assert other.need == one.need


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.25, 0.5, 1.0, 3.0, 7.5]), min_size=5, max_size=40))
def test_readings_of_any_span_count_the_same_requests(spans: list[float]) -> None:
    total = sum(spans)
    readings = [
        replace(STEADY, span=span, arrived=round(8 * span), served=round(8 * span), served_seconds=16 * span)
        for span in spans
    ]
    found = observed(*readings, *[replace(STEADY, arrived=0, served=0)] * 10)
    known = found.kept.since_change.requests
    assert known == pytest.approx(sum(one.arrived for one in readings), abs=0.5), total
    assert found.kept.since_change.late == 0


def test_its_own_late_requests_are_counted() -> None:
    """Two requests a second come, and nothing begins: all are late but those whose limit has not passed."""
    one, waiting = learner(), 0
    for second in range(1, 61):
        waiting += 2
        observe(one, Load(known=True, span=1.0, arrived=2, waiting=waiting), second)
    assert one.kept.since_change.late == one.kept.since_change.requests == 2 * 55


def test_requests_that_are_refused_are_late_and_would_have_taken_slots() -> None:
    one, other = learner(), learner()
    full = replace(STEADY, in_flight=24, arrived=8, served=5)
    for second in range(1, 61):
        observe(one, replace(full, rejected=3), second)
        observe(other, full, second)
    assert other.kept.since_change.late == 0
    assert one.kept.since_change.late == 3 * 60
    kept = one.kept.since_change
    assert kept.share == pytest.approx(1 - 180 / (55 * 8))


def uneven(seed: int) -> Trace:
    """Short requests that come in large bursts, as those of a code completion do."""
    requests = tuple(
        Request(one.arrival, one.prompt * 2, max(1, one.answer // 8))
        for one in gamma(2.5, 13.0, seconds=3600.0, seed=seed)
    )
    return Trace("uneven", requests, 3600.0)


@pytest.mark.parametrize("delay", [5.0, 60.0])
def test_it_keeps_a_promise_that_the_formula_breaks(delay: float) -> None:
    def late(policy: Policy) -> float:
        waits = simulate(trace, parameters, policy, initial=initial, warmup=1800.0).waits
        return sum(one > parameters.wait for one in waits) / len(waits)

    trace, parameters = uneven(7), Parameters(startDelay=delay)
    initial = first_groups(trace, parameters)
    learnt = ours(parameters, initial)
    alone, with_it = late(formula(parameters, initial)), late(learnt)
    assert alone > 0.1
    assert with_it < 0.03, learnt.followed


def test_constant_load_changes_the_target_once_at_most() -> None:
    requests = tuple(Request(one / 6, 1155, 211) for one in range(6 * 3000))
    parameters = Parameters(startDelay=60)
    run = simulate(Trace("constant", requests, 3000.0), parameters, ours(parameters, 8), initial=8, warmup=1500.0)
    assert len(set(run.targets)) <= 2, sorted(set(run.targets))
    assert all(one <= parameters.wait for one in run.waits)


def test_a_rule_that_is_followed_is_judged_by_what_came() -> None:
    """Sixty groups on paper have no queue; if the deployment has one all the same, the record says so."""
    rule = str(next(one for one in RULES if one.floor == 60))
    one, limits = learner(rule, groups=60), replace(LIMITS, ceiling=64)

    def observe_queue(seconds: range) -> None:
        for second in seconds:
            at = NOW + timedelta(seconds=second)
            one.observe(replace(STEADY, waiting=30), limits=limits, delay=60.0, prefer_cost=False, at=at)

    observe_queue(range(1, int(MATURE) + 1))
    seen = one.kept.hour.share
    assert seen is not None
    assert seen < 0.05, "30 wait and 5 come a second: nearly all wait for 6 s"
    place = [str(each) for each in RULES].index(rule)
    late, known = one.record.late_share()[place], one.record.requests
    followed = (MATURE - 60 - SETTLED) / MATURE
    assert late == pytest.approx(followed, abs=0.03), known

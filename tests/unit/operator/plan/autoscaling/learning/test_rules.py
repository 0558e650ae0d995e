"""The rules on arrays against the same rules written plainly, and what they do with a load that is constant."""

from itertools import pairwise
from math import ceil, exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.learning.rules import CAUTIOUS, PARTS, RULES, ReactiveRule, RuleStates

SLOTS = 8
SOME = (
    ReactiveRule(0.8, 1, 60),
    ReactiveRule(0.5, 30, 60),
    ReactiveRule(1.0, 120, 300),
    ReactiveRule(1.0, 1, 60, floor=7),
)
loads = st.lists(st.integers(0, 60), min_size=1, max_size=200)


def needs(rule: ReactiveRule, load: list[int]) -> list[int]:
    """What a rule needs in each second, before anything is kept."""
    weights = [exp(-2 * age / rule.smoothing) if rule.smoothing > 1 else float(age == 0) for age in range(len(load))]
    found = []
    for end in range(1, len(load) + 1):
        past = list(zip(weights, reversed(load[:end]), strict=False))
        mean = sum(weight * one for weight, one in past) / sum(weight for weight, _ in past)
        found.append(ceil(mean / (rule.share * SLOTS) - 1e-9))
    return found


@settings(max_examples=50, deadline=None)
@given(loads)
def test_a_rule_wants_the_most_that_was_needed_while_it_keeps_it(load: list[int]) -> None:
    states = RuleStates(slots=SLOTS, groups=0, rules=SOME)
    wanted = [states.step(float(one)) for one in load]
    for place, rule in enumerate(SOME):
        needed = needs(rule, load)
        for second, found in enumerate(wanted):
            shorter = needed[max(0, second + 1 - int(rule.keep * (1 - 1 / PARTS))) : second + 1]
            longer = needed[max(0, second + 1 - rule.keep - ceil(rule.keep / PARTS)) : second + 1]
            assert max(rule.floor, *shorter) <= found[place] <= max(rule.floor, *longer), (rule, second)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_constant_load_changes_nothing_once_the_beginning_is_forgotten(rule: ReactiveRule) -> None:
    states = RuleStates(slots=SLOTS, groups=20, rules=(rule,))
    wanted = [int(states.step(50.0)[0]) for _ in range(2 * rule.keep)]
    assert set(wanted[rule.keep + rule.keep // PARTS :]) == {max(rule.floor, ceil(50 / (rule.share * SLOTS) - 1e-9))}
    assert all(after <= before for before, after in pairwise(wanted)), "no flapping"


def test_what_is_there_at_the_beginning_is_kept() -> None:
    states = RuleStates(slots=SLOTS, groups=9)
    for _ in range(50):
        assert (states.step(0.0) >= 9).all()


def test_rules_have_names_of_their_own() -> None:
    assert len({str(one) for one in RULES}) == len(RULES)
    assert CAUTIOUS in RULES


def test_each_rule_has_a_load_of_its_own() -> None:
    states = RuleStates(slots=SLOTS, groups=0, rules=(ReactiveRule(1.0, 1, 60), ReactiveRule(1.0, 1, 60)))
    assert list(states.step(np.array([8.0, 17.0]))) == [1, 3]


@given(loads, loads)
def test_a_rule_goes_on_as_in_the_run_that_it_took_over(one: list[int], other: list[int]) -> None:
    seconds = min(len(one), len(other))
    mine, its = (RuleStates(slots=SLOTS, groups=4, rules=SOME) for _ in range(2))
    for here, there in zip(one[:seconds], other[:seconds], strict=True):
        mine.step(float(here))
        its.step(float(there))
    mine.take_over(1, its)
    for load in (40.0, 3.0, 0.0, 25.0) * 20:
        found, expected = mine.step(load), its.step(load)
        assert found[1] == expected[1]

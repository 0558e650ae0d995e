"""Which rule is followed: a table, and what must hold whatever the figures are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.learning.choice import Candidates, ChosenRule, choose

ALLOWED = 0.01
FORMULA, FAST, DEAR, OTHER = range(4)  # places


def found(
    risk: list[float], cost: list[float], *, proven: float = 0.0, late: float = 0.0, seconds: float = 900.0
) -> Candidates:
    """Four rules: the formula, another form of it, so many groups always, and one that follows the load.

    ``proven`` and ``late``: of the formula.
    """
    failed, was_late = (np.array([one, 0.0, 0.0, 0.0]) for one in (proven, late))
    forms, costs = np.array([True, True, False, False]), np.array(cost)
    follows, risks = np.array([True, True, False, True]), np.maximum(risk, was_late)
    return Candidates(was_late, failed, risks, costs, costs, forms, follows, FORMULA, seconds)


GOOD = [0.0, 0.0, 0.0, 0.0]
#: Late by the formula, and the part of it that is proven.
DOUBT, NONE = (0.02, 0.005), (0.0, 0.0)


@pytest.mark.parametrize(
    ("risk", "cost", "proven", "current", "chosen"),
    [
        pytest.param(GOOD, [10, 9, 12, 8], 0.0, FORMULA, FAST, id="another form that is as good and cheaper"),
        pytest.param(GOOD, [10, 9.8, 12, 8], 0.0, FORMULA, FORMULA, id="what saves little is not worth a change"),
        pytest.param([0, 0.002, 0, 0], [10, 9, 12, 8], 0.0, FORMULA, FORMULA, id="its record is not good enough"),
        pytest.param([0, 0.002, 0, 0], [10, 9, 12, 8], 0.0, FAST, FAST, id="good enough to stay"),
        pytest.param([0, 0.02, 0, 0], [10, 9, 12, 8], 0.0, FAST, FORMULA, id="it breaks the promise"),
        pytest.param([0, 0, 0, 0], [10, 10.5, 12, 8], 0.0, FAST, FORMULA, id="it has become dearer"),
        pytest.param([0.2, 0.2, 0, 0], [10, 9, 12, 14], 0.1, FORMULA, DEAR, id="the formula fails"),
        pytest.param([0.2, 0.2, 0, 0], [10, 9, 12, 8], 0.1, FORMULA, DEAR, id="nothing cheaper is believed then"),
        pytest.param([0.2, 0.2, 0.005, 0], [10, 9, 12, 14], 0.1, FORMULA, OTHER, id="a better record first"),
        pytest.param([0.2, 0.2, 0.005, 0.02], [10, 9, 12, 14], 0.1, FORMULA, DEAR, id="then what keeps it"),
        pytest.param([0.2, 0.2, 0, 0], [10, 9, 12, 11.9], 0.1, DEAR, DEAR, id="no change for a hundredth"),
        pytest.param([0.2, 0.2, 0.1, 0.05], [10, 9, 12, 14], 0.1, FORMULA, OTHER, id="none keeps it: the best"),
    ],
)
def test_choice(*, risk: list[float], cost: list[float], proven: float, current: int, chosen: int) -> None:
    figures = found(risk, cost, proven=proven)
    assert choose(figures, current=current, allowed=ALLOWED, prefer_cost=False).rule == chosen


@pytest.mark.parametrize(
    ("risk", "cost", "late", "seconds", "current", "chosen"),
    [
        pytest.param(GOOD, [10, 9, 12, 11], DOUBT, 1200, FORMULA, OTHER, id="little for what may be needed"),
        pytest.param(GOOD, [10, 9, 12, 11], DOUBT, 1190, FORMULA, FAST, id="too early to doubt"),
        pytest.param(GOOD, [10, 9, 12, 11], (0.01, 0.005), 1200, FORMULA, FAST, id="as much as may be late"),
        pytest.param(GOOD, [10, 9, 12, 11], (0.8, 0.002), 1200, FORMULA, FAST, id="one episode, such as a step"),
        pytest.param(GOOD, [10, 9, 12, 11.6], DOUBT, 1200, FORMULA, FAST, id="too dear for a doubt"),
        pytest.param([0, 0, 0, 0.02], [10, 9, 12, 11], DOUBT, 1200, FORMULA, FAST, id="it would break it too"),
        pytest.param(GOOD, [10, 9, 12, 8], DOUBT, 1800, OTHER, FAST, id="nothing cheaper is believed in doubt"),
        pytest.param(GOOD, [10, 9, 12, 8], NONE, 1800, FORMULA, OTHER, id="a long record, and cheaper"),
        pytest.param(GOOD, [10, 9, 8, 10], NONE, 1800, FORMULA, FAST, id="so many always is no rule for a change"),
        pytest.param(GOOD, [10, 9, 12, 8], NONE, 1790, FORMULA, FAST, id="too short a record"),
        pytest.param([0, 0, 0, 0.0003], [10, 9, 12, 8], NONE, 1800, FORMULA, OTHER, id="good enough to go to"),
        pytest.param([0, 0, 0, 0.0004], [10, 9, 12, 8], NONE, 1800, FORMULA, FAST, id="not good enough to go to"),
        pytest.param(GOOD, [10, 9, 12, 8.8], NONE, 1800, FAST, FAST, id="too little for a rule of another kind"),
        pytest.param([0, 0, 0, 0.002], [10, 9, 12, 8], NONE, 1800, OTHER, OTHER, id="good enough to stay with"),
        pytest.param([0, 0, 0, 0.02], [10, 9, 12, 8], NONE, 1800, OTHER, FAST, id="not any more"),
    ],
)
def test_choice_while_nothing_is_proven(
    *,
    risk: list[float],
    cost: list[float],
    late: tuple[float, float],
    seconds: float,
    current: int,
    chosen: int,
) -> None:
    figures = found(risk, cost, late=late[0], proven=late[1], seconds=seconds)
    choice = choose(figures, current=current, allowed=ALLOWED, prefer_cost=False)
    assert choice == ChosenRule(chosen, keeps=True)


@pytest.mark.parametrize(("excess", "chosen"), [(0.005, OTHER), (0.0051, FORMULA)])
def test_what_the_formula_would_not_have_made_late_sends_back_to_it(excess: float, chosen: int) -> None:
    figures = replace(found(GOOD, [10, 9, 12, 8], seconds=3600), excess=excess)
    for current in (FAST, OTHER):
        assert choose(figures, current=current, allowed=ALLOWED, prefer_cost=False).rule == chosen


def test_who_prefers_cost_pays_for_no_doubt() -> None:
    figures = found(GOOD, [10, 10, 12, 11], late=0.02, proven=0.005, seconds=3600)
    assert choose(figures, current=FORMULA, allowed=ALLOWED, prefer_cost=True) == ChosenRule(FORMULA, keeps=True)


def test_who_prefers_cost_stays_with_the_formula_and_is_told_what_the_promise_takes() -> None:
    figures = found([0.2, 0.2, 0, 0], [10, 9, 12, 14], proven=0.1)
    choice = choose(figures, current=DEAR, allowed=ALLOWED, prefer_cost=True)
    assert choice == ChosenRule(FORMULA, keeps=False, dearer=DEAR)


def test_it_says_when_nothing_that_is_known_keeps_the_promise() -> None:
    figures = found([0.2, 0.2, 0.1, 0.05], [10, 9, 12, 14], proven=0.1)
    for prefer_cost in (True, False):
        choice = choose(figures, current=FORMULA, allowed=ALLOWED, prefer_cost=prefer_cost)
        assert not choice.keeps
        assert choice.dearer is None


shares = st.lists(st.floats(0, 1), min_size=4, max_size=4)
costs = st.lists(st.floats(1, 1000), min_size=4, max_size=4)


records = st.builds(found, shares, costs, proven=st.floats(0, 1), late=st.floats(0, 1), seconds=st.floats(600, 7200))


@given(figures=records, now=st.integers(0, 3))
def test_a_choice_stands_while_nothing_changes(*, figures: Candidates, now: int) -> None:
    first = choose(figures, current=now, allowed=ALLOWED, prefer_cost=False)
    assert choose(figures, current=first.rule, allowed=ALLOWED, prefer_cost=False) == first


@given(figures=records, now=st.integers(0, 3))
def test_a_rule_that_breaks_the_promise_is_followed_only_where_none_keeps_it(*, figures: Candidates, now: int) -> None:
    risk, cost = figures.risk, figures.cost
    choice = choose(figures, current=now, allowed=ALLOWED, prefer_cost=False)
    if choice.keeps and choice.rule != FORMULA:
        assert risk[choice.rule] <= ALLOWED
    if not choice.keeps:
        dear = [one for one in range(4) if cost[one] >= cost[FORMULA]]
        assert all(risk[one] > ALLOWED for one in dear)

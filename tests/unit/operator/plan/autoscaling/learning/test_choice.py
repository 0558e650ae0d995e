"""Which rule is followed: a table, and what must hold whatever the figures are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.learning.choice import Candidates, ChosenRule, choose

ALLOWED = 0.01
FORMULA, FAST, DEAR, FLOOR = range(4)  # places


def found(risk: list[float], cost: list[float], *, proven: float = 0.0) -> Candidates:
    """Four rules: the formula, another form of it, and two that are none; ``proven``: of the formula."""
    failed = np.array([proven, 0.0, 0.0, 0.0])
    forms = np.array([True, True, False, False])
    return Candidates(np.array(risk), failed, np.array(cost), np.array(cost), forms, FORMULA)


GOOD = [0.0, 0.0, 0.0, 0.0]


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
        pytest.param([0.2, 0.2, 0.005, 0], [10, 9, 12, 14], 0.1, FORMULA, FLOOR, id="a better record first"),
        pytest.param([0.2, 0.2, 0.005, 0.02], [10, 9, 12, 14], 0.1, FORMULA, DEAR, id="then what keeps it"),
        pytest.param([0.2, 0.2, 0, 0], [10, 9, 12, 11.9], 0.1, DEAR, DEAR, id="no change for a hundredth"),
        pytest.param([0.2, 0.2, 0.1, 0.05], [10, 9, 12, 14], 0.1, FORMULA, FLOOR, id="none keeps it: the best"),
    ],
)
def test_choice(*, risk: list[float], cost: list[float], proven: float, current: int, chosen: int) -> None:
    figures = found(risk, cost, proven=proven)
    assert choose(figures, current=current, allowed=ALLOWED, prefer_cost=False).rule == chosen


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


@given(risk=shares, cost=costs, proven=st.floats(0, 1), now=st.integers(0, 3))
def test_a_choice_stands_while_nothing_changes(
    *, risk: list[float], cost: list[float], proven: float, now: int
) -> None:
    figures = found(risk, cost, proven=proven)
    first = choose(figures, current=now, allowed=ALLOWED, prefer_cost=False)
    assert choose(figures, current=first.rule, allowed=ALLOWED, prefer_cost=False) == first


@given(risk=shares, cost=costs, proven=st.floats(0, 1), now=st.integers(0, 3))
def test_a_rule_that_breaks_the_promise_is_followed_only_where_none_keeps_it(
    *, risk: list[float], cost: list[float], proven: float, now: int
) -> None:
    figures = found(risk, cost, proven=proven)
    choice = choose(figures, current=now, allowed=ALLOWED, prefer_cost=False)
    if choice.keeps and choice.rule != FORMULA:
        assert risk[choice.rule] <= ALLOWED
    if not choice.keeps:
        dear = [one for one in range(4) if cost[one] >= cost[FORMULA]]
        assert all(risk[one] > ALLOWED for one in dear)

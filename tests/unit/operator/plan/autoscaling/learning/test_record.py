"""The record of the rules: how sure a share is, and what a rule is taken to make late."""

import numpy as np
import pytest

from llama_operator.plan.autoscaling.learning.kept import Kept
from llama_operator.plan.autoscaling.learning.record import Record

ALLOWED = 0.01
FORMULAS = np.array([True, True, False])


def record(*seconds: tuple[float, ...], rounds: int = 1, calm: int = 60, arrived: float = 10.0) -> Record:
    """``rounds`` times the seconds, each with the late requests of the three rules, and ``calm`` ones behind."""
    found = Record(FORMULAS, batch=30.0, memory=3600.0)
    for _ in range(rounds):
        for late in (*seconds, *[(0.0, 0.0, 0.0)] * calm):
            counts = np.array(late)
            found.add([counts, counts, counts], arrived, np.ones(3))
    return found


def test_one_episode_proves_nothing_however_long_it_was() -> None:
    assert record(*[(9.0, 0.0, 0.0)] * 300).proven()[0] == 0


@pytest.mark.parametrize(("rounds", "part"), [(2, 0.5), (4, 0.75), (16, 0.94)])
def test_episodes_that_are_alike_prove_what_their_number_allows(rounds: int, part: float) -> None:
    found = record(*[(10.0, 0.0, 0.0)] * 5, rounds=rounds)
    assert found.proven()[0] == pytest.approx(part * found.late_share()[0], rel=0.1)


def test_an_episode_goes_on_through_a_short_calm() -> None:
    assert record(*[(10.0, 0.0, 0.0)] * 5, rounds=16, calm=10).proven()[0] == 0


def test_what_no_form_of_the_formula_could_avoid_counts_for_none_until_it_is_proven() -> None:
    once = record(*[(10.0, 9.0, 0.0)] * 30)
    assert once.risk(allowed=ALLOWED)[1] == pytest.approx(1 / once.requests, abs=1e-4)
    assert once.risk(allowed=ALLOWED)[0] > once.risk(allowed=ALLOWED)[1]
    often = record(*[(10.0, 9.0, 0.0)] * 30, rounds=9)
    assert often.risk(allowed=ALLOWED)[1] > 0.2
    assert often.risk(allowed=ALLOWED)[2] == pytest.approx(1 / often.requests)


def test_waits_of_half_the_limit_tell_of_longer_ones() -> None:
    """Of 1000 requests 100 wait a quarter of the limit and 50 half of it: 12.5 are taken to wait all of it."""
    found = Record(np.array([True, False]), batch=30.0, memory=3600.0)
    found.add([np.zeros(2), np.array([50.0, 0.0]), np.array([100.0, 100.0])], 1000.0, np.ones(2))
    assert list(found.risk(allowed=ALLOWED)) == pytest.approx([0.0125 + 0.001, 0.001])


def test_few_requests_prove_no_share() -> None:
    """None of 50 was late: one of them might have been."""
    found = Record(FORMULAS, batch=30.0, memory=3600.0)
    found.add([np.zeros(3)] * 3, 50.0, np.ones(3))
    assert (found.risk(allowed=ALLOWED) == 0.02).all()


def test_what_is_long_ago_counts_less() -> None:
    found = record(*[(10.0, 0.0, 0.0)] * 10)
    before = found.late_share()[0]
    for _ in range(7200):
        found.add([np.zeros(3)] * 3, 10.0, np.ones(3))
    assert found.late_share()[0] < before / 20
    assert found.cost == pytest.approx(np.ones(3))


def test_costs_are_means_of_an_hour_and_of_a_quarter() -> None:
    found = Record(FORMULAS, batch=30.0, memory=3600.0)
    for second in range(5400):
        found.add([np.zeros(3)] * 3, 1.0, np.full(3, 2.0 if second < 4500 else 4.0))
    assert found.cost[0] == pytest.approx(2 + 2 * (1 - np.exp(-1 / 4)) / (1 - np.exp(-1.5)), rel=0.02)
    assert found.present_cost[0] == pytest.approx(4 - 2 / np.e, rel=0.02)


def test_the_share_that_was_kept_is_of_an_hour_of_a_day_and_since_the_change() -> None:
    kept = Kept()
    assert kept.hour.share is None
    for late in [*[1.0] * 3600, *[0.0] * 7200]:
        kept = kept.after(requests=2.0, late=late)
    assert kept.hour.share is not None
    assert kept.day.share is not None
    assert 0.95 < kept.hour.share < 0.96
    assert 0.83 < kept.day.share < 0.85
    assert kept.since_change.share == pytest.approx(1 - 3600 / 21600)
    assert kept.changed().since_change.share is None
    assert kept.changed().day == kept.day

"""The formulas: levels, unevenness, lines, shares of late requests, queues."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.forecast import Rates, above, ahead, below, burst, constants, fed, raised, variance
from llama_operator.plan.sizing import backlog_at, groups_for, groups_for_queue, late_share

TAUS = constants(10.0, 600.0)


def after(counts: list[int], rates: Rates | None = None) -> Rates:
    """One count a second."""
    found = rates or Rates()
    for count in counts:
        found = fed(found, rate=count, span=1.0, taus=TAUS, bucket=5.0)
    return found


def test_windows_double_from_the_shortest_to_the_longest() -> None:
    assert TAUS == (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


def test_a_constant_load_has_one_level_and_no_trend() -> None:
    rates = after([4] * 900)
    assert rates.levels == pytest.approx((4.0,) * len(TAUS))
    assert burst(rates) < 1.1
    v = variance(rates)
    assert 3.5 < above(rates, v=v, burst=1, z=1) < 4 < below(rates, v=v, z=1) < 4.5
    assert ahead(rates, v=v, burst=1, z=2, horizon=60) < 4


def test_levels_are_right_from_the_first_reading_on() -> None:
    assert after([7]).levels == pytest.approx((7.0,) * len(TAUS))


def test_a_step_shows_within_seconds_and_is_no_unevenness() -> None:
    rates = after([1] * 600 + [10] * 12)
    assert above(rates, v=variance(rates), burst=burst(rates), z=2) > 7
    assert burst(after([10] * 60, rates)) < 2


def test_bursts_are_measured_and_do_not_count_as_a_step() -> None:
    rates = after(([60] + [0] * 14) * 40)
    assert 20 < burst(rates) < 80
    assert above(after([60], rates), v=variance(rates), burst=burst(rates), z=2) < 8


def test_a_line_goes_on() -> None:
    rates = after([second // 60 for second in range(1200)])
    coming = ahead(rates, v=variance(rates), burst=1, z=2, horizon=120)
    assert 19 < coming < 23  # 19 a second now, one more every minute


def test_other_windows_keep_what_was_learned() -> None:
    rates = fed(after([4] * 300), rate=4, span=1.0, taus=constants(10.0, 1200.0), bucket=5.0)
    assert rates.levels == pytest.approx((4.0,) * len(rates.taus))


def test_a_lower_bound_lifts_levels_and_lowers_none() -> None:
    rates = after([4] * 300)
    assert raised(rates, rate=0, span=1, taus=TAUS, bucket=5).levels == rates.levels
    assert min(raised(rates, rate=9, span=1, taus=TAUS, bucket=5).levels) > 4
    assert raised(Rates(), rate=9, span=1, taus=TAUS, bucket=5).age == 0


@given(st.floats(1, 60), st.floats(1, 50), st.floats(1, 100), st.floats(0.1, 60), st.floats(0.5, 20))
def test_fewer_are_late_with_more_slots(slots: float, rho: float, uneven: float, service: float, wait: float) -> None:
    few = late_share(slots, rho=rho, burst=uneven, service=service, wait=wait)
    assert 0 <= late_share(slots + 1, rho=rho, burst=uneven, service=service, wait=wait) <= few <= 1
    assert late_share(slots, rho=rho + 1, burst=uneven, service=service, wait=wait) >= few


def erlang_slots(rho: float, service: float, wait: float, share: float) -> int:
    """Slots by the exact formula for independent arrivals and exponential service (Erlang C)."""
    slots = math.ceil(rho + 1e-9)
    while True:
        blocked = 1.0
        for number in range(1, slots + 1):
            blocked = rho * blocked / (number + rho * blocked)
        waits = blocked / (1 - rho / slots * (1 - blocked)) if slots > rho else 1.0
        if waits * math.exp(-(slots - rho) * wait / service) <= share:
            return slots
        slots += 1


@pytest.mark.parametrize(("rho", "service"), [(5, 8), (20, 8), (50, 8), (50, 1), (60, 45), (200, 9)])
def test_near_the_exact_formula_where_there_is_one(rho: float, service: float) -> None:
    exact = erlang_slots(rho, service, 5.0, 0.01)
    ours = groups_for(rho, burst=1, service=service, wait=5.0, slots=1, share=0.01, most=1000)
    assert ours == pytest.approx(exact, abs=2)


def test_nothing_needs_nothing() -> None:
    assert groups_for(0.0, burst=1, service=1, wait=5, slots=8, share=0.01, most=10) == 0
    assert groups_for_queue(0, rho=100, slots=8, serving=1, due=(), horizon=60, wait=5) == 0


@pytest.mark.parametrize(
    ("work", "rho", "serving", "due", "left"),
    [
        (100, 0, 0, (), 100),  # nobody works
        (100, 8, 1, (), 100),  # one group of 8 does what comes
        (100, 0, 1, (), 0),
        (600, 0, 1, (), 120),  # 60 s of 8 slots
        (600, 0, 1, (50.0,), 40),  # and 10 s of 8 more
        (600, 0, 1, (50.0, 30.0), 0),
    ],
)
def test_what_will_wait_when_a_group_ordered_now_serves(
    work: float, rho: float, serving: int, due: tuple[float, ...], left: float
) -> None:
    assert backlog_at(60, work=work, rho=rho, slots=8, serving=serving, due=due) == left


def test_a_queue_that_is_done_by_then_needs_nobody() -> None:
    assert groups_for_queue(400, rho=0, slots=8, serving=1, due=(), horizon=60, wait=5) == 0
    assert groups_for_queue(900, rho=0, slots=8, serving=1, due=(), horizon=60, wait=5) == 1
    assert groups_for_queue(900, rho=8, slots=8, serving=1, due=(), horizon=60, wait=5) == 3

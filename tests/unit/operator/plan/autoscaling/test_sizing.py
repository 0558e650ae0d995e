"""The formulas: levels, unevenness, lines, shares of late requests, queues."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.formula.forecast import (
    ArrivalRates,
    ahead,
    below,
    bounds,
    burst,
    time_constants,
    variance,
    with_arrivals,
    with_lower_bound,
)
from llama_operator.plan.autoscaling.formula.sizing import (
    backlog_at,
    groups_for,
    groups_for_queue,
    groups_to_catch,
    late_share,
)

TAUS = time_constants(10.0, 600.0)


def after(counts: list[int], rates: ArrivalRates | None = None) -> ArrivalRates:
    """One count a second."""
    found = rates or ArrivalRates()
    for count in counts:
        found = with_arrivals(found, rate=count, span=1.0, taus=TAUS, bucket=5.0)
    return found


def least(rates: ArrivalRates, z: float = 1) -> float:
    return bounds(rates, v=variance(rates), burst=burst(rates), z=z)[0]


def most(rates: ArrivalRates, z: float = 1) -> float:
    return bounds(rates, v=variance(rates), burst=burst(rates), z=z)[1]


def test_windows_double_from_the_shortest_to_the_longest() -> None:
    assert TAUS == (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


def test_a_constant_load_has_one_level_and_no_trend() -> None:
    rates = after([4] * 900)
    assert rates.levels == pytest.approx((4.0,) * len(TAUS))
    assert burst(rates) < 1.1
    assert 3.5 < least(rates) < 4 < most(rates) < 4.5
    assert 4 < below(rates, v=variance(rates), z=1) < 4.5
    assert ahead(rates, v=variance(rates), burst=1, z=2, horizon=60) < 4


def test_levels_are_right_from_the_first_reading_on() -> None:
    assert after([7]).levels == pytest.approx((7.0,) * len(TAUS))


def test_a_step_shows_within_seconds_and_is_no_unevenness() -> None:
    rates = after([1] * 600 + [10] * 12)
    assert least(rates, z=2) > 7
    assert burst(after([10] * 60, rates)) < 2


def test_a_step_down_shows_as_soon() -> None:
    """Long windows still say at least nine a second; the short ones, which see the newer part, are believed."""
    rates = after([10] * 600 + [1] * 30)
    assert rates.levels[-1] > 9
    assert 0 < least(rates, z=2) <= most(rates, z=2) < 4


@given(st.lists(st.integers(0, 40), min_size=30, max_size=120), st.integers(0, 30), st.floats(0.5, 3))
def test_more_arrivals_never_lower_the_bounds(counts: list[int], more: int, z: float) -> None:
    before = after(counts)
    given_ = {"v": variance(before), "burst": burst(before), "z": z}
    few, many = (bounds(after([count], before), **given_) for count in (3, 3 + more))
    assert 0 <= few[0] <= few[1]
    assert few[0] <= many[0]
    assert few[1] <= many[1]
    assert below(after([3], before), v=variance(before), z=z) <= below(
        after([3 + more], before), v=variance(before), z=z
    )


def test_bursts_are_measured_and_do_not_count_as_a_step() -> None:
    rates = after(([60] + [0] * 14) * 40)
    assert 20 < burst(rates) < 80
    assert bounds(after([60], rates), v=variance(rates), burst=burst(rates), z=2)[0] < 8


def test_a_line_goes_on() -> None:
    rates = after([second // 60 for second in range(1200)])
    coming = ahead(rates, v=variance(rates), burst=1, z=2, horizon=120)
    assert 19 < coming < 23  # 19 a second now, one more every minute


def test_other_windows_keep_what_was_learned() -> None:
    rates = with_arrivals(after([4] * 300), rate=4, span=1.0, taus=time_constants(10.0, 1200.0), bucket=5.0)
    assert rates.levels == pytest.approx((4.0,) * len(rates.taus))


def test_a_lower_bound_lifts_levels_and_lowers_none() -> None:
    rates = after([4] * 300)
    assert with_lower_bound(rates, rate=0, span=1, taus=TAUS, bucket=5).levels == rates.levels
    assert min(with_lower_bound(rates, rate=9, span=1, taus=TAUS, bucket=5).levels) > 4
    assert with_lower_bound(ArrivalRates(), rate=9, span=1, taus=TAUS, bucket=5).age == 0


@given(
    slots=st.floats(1, 60),
    rho=st.floats(1, 50),
    uneven=st.floats(1, 100),
    service=st.floats(0.1, 60),
    wait=st.floats(0.5, 20),
)
def test_fewer_are_late_with_more_slots(
    *, slots: float, rho: float, uneven: float, service: float, wait: float
) -> None:
    few = late_share(slots, rho=rho, burst=uneven, service=service, wait=wait)
    assert 0 <= late_share(slots + 1, rho=rho, burst=uneven, service=service, wait=wait) <= few <= 1
    assert late_share(slots, rho=rho + 1, burst=uneven, service=service, wait=wait) >= few


def erlang_slots(*, rho: float, service: float, wait: float, share: float) -> int:
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
    exact = erlang_slots(rho=rho, service=service, wait=5.0, share=0.01)
    ours = groups_for(rho, burst=1, service=service, wait=5.0, slots=1, share=0.01, most=1000)
    assert ours == pytest.approx(exact, abs=2)


def test_nothing_needs_nothing() -> None:
    assert groups_for(0.0, burst=1, service=1, wait=5, slots=8, share=0.01, most=10) == 0
    assert groups_for_queue(0, rho=100, slots=8, serving=1, due=(), horizon=60, wait=5, within=60) == 0


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
    *, work: float, rho: float, serving: int, due: tuple[float, ...], left: float
) -> None:
    assert backlog_at(60, work=work, rho=rho, slots=8, serving=serving, due=due) == left


@pytest.mark.parametrize(
    ("work", "rho", "within", "groups"),
    [
        (400, 0, 60, 0),  # done before another group would serve
        (900, 0, 60, 1),  # 420 are left, and done in 53 s
        (900, 8, 60, 3),  # 900 are left
        (900, 0, 12, 5),  # 420 in 12 s
    ],
)
def test_a_queue_that_is_done_by_then_needs_nobody(*, work: float, rho: float, within: float, groups: int) -> None:
    found = groups_for_queue(work, rho=rho, slots=8, serving=1, due=(), horizon=60, wait=5, within=within)
    assert found == groups


@pytest.mark.parametrize(
    ("work", "due", "groups"),
    [
        (100, (), 0),  # done before another group would serve
        (190, (), 4),  # 70 are left: more than half of what three groups do in 5 s
        (190, (3.0,), 0),  # one is starting: it is waited for
        (300, (), 5),  # 180 are left, more than 5 s of work for three groups: five do it
    ],
)
def test_where_starts_are_quick_a_queue_that_begins_gets_one_group_more(
    work: float, due: tuple[float, ...], groups: int
) -> None:
    found = groups_for_queue(work, rho=0, slots=8, serving=3, due=due, horizon=5, wait=5, within=5)
    assert found == groups


@given(rho=st.floats(1, 100), uneven=st.floats(1, 60), service=st.floats(0.2, 60), horizon=st.floats(1, 5))
def test_enough_to_catch_a_queue_is_never_less_than_the_load(
    *, rho: float, uneven: float, service: float, horizon: float
) -> None:
    given_ = {"service": service, "wait": 5.0, "slots": 8, "most": 10_000}
    found = groups_to_catch(rho, burst=uneven, horizon=horizon, **given_)  # type: ignore[arg-type]
    assert found * 8 >= rho
    assert groups_to_catch(rho + 1, burst=uneven, horizon=horizon, **given_) >= found  # type: ignore[arg-type]
    assert groups_to_catch(rho, burst=uneven + 1, horizon=horizon, **given_) >= found  # type: ignore[arg-type]

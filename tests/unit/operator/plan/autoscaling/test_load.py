"""Readings of several gateways: every request once, whatever restarts, falls silent, comes or goes between two."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.load import LONGEST_SPAN, GatewayPod, PreviousReading, merge
from llama_serving.config.gateway import GatewayLoad, WorkCount
from tests.unit.operator.worlds import NOW

A, B = GatewayPod("a", "1"), GatewayPod("b", "1")


def says(arrived: int, served: int = 0, *, uptime: float, waiting: int = 0, oldest: float = 0) -> GatewayLoad:
    """A gateway whose requests ask for 10 tokens each and give 5."""
    return GatewayLoad(
        waiting=waiting, oldest_wait=oldest, in_flight=arrived - served - waiting, draining=False, groups=(), totals={},
        uptime=uptime, waits=WorkCount(requests=waiting, prompt_tokens=10 * waiting, answer_tokens=7 * waiting),
        arrived=WorkCount(requests=arrived, prompt_tokens=10 * arrived, answer_tokens=6 * arrived),
        served=WorkCount(requests=served, prompt_tokens=10 * served, answer_tokens=5 * served, seconds=2.0 * served),
    )  # fmt: skip


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_the_first_reading_has_no_differences() -> None:
    load, _ = merge(PreviousReading(), {A: says(100, 90, uptime=50, waiting=4, oldest=1.5)}, NOW)
    assert (load.known, load.arrived, load.served, load.span) == (True, 0, 0, 0)
    assert (load.waiting, load.oldest_wait, load.in_flight) == (4, 1.5, 6)
    assert load.waiting_answer_tokens == 28


def test_what_came_since_is_added_up_over_gateways() -> None:
    _, marks = merge(PreviousReading(), {A: says(100, 90, uptime=50), B: says(10, 10, uptime=20)}, NOW)
    load, _ = merge(marks, {A: says(103, 92, uptime=51), B: says(11, 11, uptime=21)}, NOW + after(1))
    assert (load.arrived, load.arrived_prompt_tokens) == (4, 40)
    assert (load.served, load.served_answer_tokens, load.served_seconds) == (3, 15, 6)
    assert load.span == 1


@pytest.mark.parametrize("jump", [-3600, -1, 0, 0.001, 3600])
def test_a_clock_that_jumps_does_not_stretch_the_time(jump: float) -> None:
    _, marks = merge(PreviousReading(), {A: says(100, uptime=50)}, NOW)
    load, marks = merge(marks, {A: says(104, uptime=52)}, NOW + after(jump))
    assert (load.arrived, load.span) == (4, 2)


def test_a_gateway_that_started_again_counts_from_zero() -> None:
    _, marks = merge(PreviousReading(), {A: says(100, 90, uptime=50)}, NOW)
    load, marks = merge(marks, {A: says(2, 1, uptime=0.5)}, NOW + after(1))
    assert (load.arrived, load.served) == (2, 1)
    load, _ = merge(marks, {A: says(3, 1, uptime=60)}, NOW + after(60))
    assert load.arrived == 1, "up for longer than before and still with fewer requests than the first had"


def test_a_gateway_that_is_new() -> None:
    _, marks = merge(PreviousReading(), {A: says(100, uptime=50)}, NOW)
    load, _ = merge(marks, {A: says(100, uptime=52), B: says(3, uptime=1)}, NOW + after(2))
    assert load.arrived == 3, "it began after the reading before"
    load, _ = merge(marks, {A: says(100, uptime=52), B: says(3, uptime=30)}, NOW + after(2))
    assert load.arrived == 0, "nobody knows when these came"
    load, _ = merge(marks, {A: says(100, uptime=52), B: says(3, uptime=100)}, NOW + after(3600))
    assert load.arrived == 0, "a jump of the clock makes no gateway new"


def test_a_gateway_of_the_same_name_is_another_one() -> None:
    _, marks = merge(PreviousReading(), {A: says(100, uptime=50)}, NOW)
    load, marks = merge(marks, {GatewayPod("a", "2"): says(120, uptime=51)}, NOW + after(1))
    assert (load.arrived, list(marks.gateways)) == (0, [GatewayPod("a", "2")])


def test_a_silent_gateway_makes_it_a_lower_bound_and_its_requests_come_later() -> None:
    _, marks = merge(PreviousReading(), {A: says(100, uptime=50), B: says(10, uptime=50)}, NOW)
    load, marks = merge(marks, {A: says(101, uptime=51), B: None}, NOW + after(1))
    assert (load.known, load.silent, load.arrived) == (False, ("b",), 1)
    load, _ = merge(marks, {A: says(102, uptime=52), B: says(15, uptime=52)}, NOW + after(2))
    assert (load.known, load.arrived, load.span) == (True, 1 + 5, 1)


def test_nobody_to_ask_is_not_known() -> None:
    load, marks = merge(PreviousReading(), {}, NOW)
    assert (load.known, load.waiting) == (False, 0)
    load, _ = merge(marks, {}, NOW + after(3600))
    assert load.span == LONGEST_SPAN


steps = st.lists(
    st.tuples(
        st.sampled_from(("request", "restart", "silent", "heard", "gone", "new")),
        st.integers(0, 2),  # which gateway
        st.floats(0.1, 90),  # seconds until the next reading
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(steps)
def test_no_request_is_counted_twice(story: list[tuple[str, int, float]]) -> None:
    """Whatever happens between readings: the differences never add up to more than what came."""
    counts = dict.fromkeys(range(3), 0)
    uids, up, silent = dict.fromkeys(range(3), 0), dict.fromkeys(range(3), 5.0), set[int]()
    came = seen = 0
    now, marks = NOW, PreviousReading()
    for what, which, wait in story:
        if what == "request":
            counts[which] += 3
            came += 3
        elif what in ("restart", "new"):
            counts[which], up[which] = 0, 0.0
            uids[which] += int(what == "new")
        elif what == "silent":
            silent.add(which)
        elif what == "heard":
            silent.discard(which)
        present = {number for number in counts if (what, which) != ("gone", number)}
        heard = {
            GatewayPod(str(number), str(uids[number])): None
            if number in silent
            else says(counts[number], uptime=up[number])
            for number in sorted(present)
        }
        load, marks = merge(marks, heard, now)
        seen += load.arrived
        assert seen <= came
        assert 0 <= load.span <= LONGEST_SPAN
        assert load.arrived >= 0
        assert load.known == (not silent & present)
        now += after(wait)
        up = {number: seconds + wait for number, seconds in up.items()}


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_with_gateways_that_stay_every_request_is_counted(story: list[tuple[int, int]]) -> None:
    one = other = seen = 0
    marks, uptime = merge(PreviousReading(), {A: says(0, uptime=1), B: says(0, uptime=1)}, NOW)[1], 1.0
    for first, second in story:
        one, other, uptime = one + first, other + second, uptime + 1
        load, marks = merge(marks, {A: says(one, uptime=uptime), B: says(other, uptime=uptime)}, NOW + after(uptime))
        seen += load.arrived
    assert seen == one + other


def test_rejected_requests_are_counted_once_whatever_is_why() -> None:
    def rejecting(full: int, late: int, *, uptime: float) -> GatewayLoad:
        totals = {"rejected_full": full, "rejected_late": late, "rejected_deadline": 9, "finished": 7}
        return says(100, uptime=uptime).model_copy(update={"totals": totals})

    load, marks = merge(PreviousReading(), {A: rejecting(5, 5, uptime=50)}, NOW)
    assert load.rejected == 0, "who knows since when"
    load, marks = merge(marks, {A: rejecting(6, 8, uptime=51)}, NOW + after(1))
    assert load.rejected == 4
    load, _ = merge(marks, {A: says(100, uptime=52)}, NOW + after(2))
    assert load.rejected == 0, "an older gateway counts no late ones"

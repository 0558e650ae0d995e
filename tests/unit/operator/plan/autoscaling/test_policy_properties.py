"""What holds for every load: bounds, order, memory, clocks."""

from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.autoscaling.formula.windows import windows_for
from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.plan.autoscaling.situation import RuleNeed
from llama_operator.plan.autoscaling.state import PolicyState
from tests.unit.operator.plan.autoscaling.autoscale_worlds import NOW, Bed, changes, reading, restarted

RATES = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 4.0, 15.0]), st.integers(1, 120)), min_size=1, max_size=4)
STARTS = st.sampled_from([1.0, 5.0, 60.0, 300.0])


@st.composite
def loads(draw: st.DrawFn, *, known: bool | None = None) -> Load:
    """Any reading."""
    few, span = st.integers(0, 60), draw(st.sampled_from([0.0, 0.5, 1.0, 7.0, 3600.0]))
    base = reading(arrived=draw(few), in_flight=draw(few), waiting=draw(few), served=draw(few))
    return replace(base, span=span, known=draw(st.booleans()) if known is None else known)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Any limits."""
    floor = draw(st.integers(0, 5))
    return Limits(
        floor=floor,
        ceiling=floor + draw(st.integers(1, 20)),
        slots=draw(st.integers(1, 32)),
        in_flight=draw(st.none() | st.integers(1, 32)),
        stable=draw(st.none() | st.integers(20, 2000)),
        panic=draw(st.none() | st.integers(2, 60)),
        cooldown=draw(st.none() | st.integers(0, 600)),
        idle_after=draw(st.integers(0, 900)),
        step=draw(st.none() | st.integers(1, 5)),
        start=draw(STARTS),
    )


groups = st.builds(
    GroupCounts,
    serving=st.integers(0, 20),
    starting=st.lists(st.floats(0, 400), max_size=4).map(tuple),
    held=st.integers(0, 2),
    leaving=st.integers(0, 2),
    rolling=st.booleans(),
)


rules = st.none() | st.builds(
    RuleNeed, groups=st.integers(0, 30), rule=st.just("a rule"), with_formula=st.booleans(), only_down=st.booleans()
)  # fmt: skip


@st.composite
def beds(draw: st.DrawFn) -> Bed:
    """A deployment that has seen some load."""
    start = draw(STARTS)
    bed = Bed.running(draw(st.integers(0, 10)), limits=replace(draw(limits()), start=start), start=start)
    for rate, seconds in draw(RATES):
        bed.rule = draw(rules)
        bed.run(rate, seconds, known=draw(st.booleans()))
    return bed


def numbers(value: Any) -> Iterator[Any]:
    """All that a state holds."""
    if isinstance(value, tuple):
        for one in value:
            yield from numbers(one)
    else:
        yield value


@settings(max_examples=40, deadline=None)
@given(beds(), loads(), groups)
def test_the_target_is_within_the_limits_and_the_same_input_gives_the_same(
    bed: Bed, load: Load, seen: GroupCounts
) -> None:
    first, second = (decide(load, seen, state=bed.state, limits=bed.limits, now=NOW, rule=bed.rule) for _ in range(2))
    assert first == second
    assert bed.limits.floor <= first.target <= bed.limits.ceiling
    assert first.message
    assert first.reason


@settings(max_examples=60, deadline=None)
@given(
    bed=beds(),
    load=loads(),
    seen=groups,
    arrived=st.integers(0, 40),
    waiting=st.integers(0, 40),
    in_flight=st.integers(0, 40),
)
def test_more_load_never_gives_a_smaller_target(
    *, bed: Bed, load: Load, seen: GroupCounts, arrived: int, waiting: int, in_flight: int
) -> None:
    more = replace(
        load,
        arrived=load.arrived + arrived,
        waiting=load.waiting + waiting,
        waiting_answer_tokens=load.waiting_answer_tokens + waiting * 200,
        in_flight=load.in_flight + in_flight,
    )
    less = decide(load, seen, state=bed.state, limits=bed.limits, now=NOW, rule=bed.rule).target
    assert decide(more, seen, state=bed.state, limits=bed.limits, now=NOW, rule=bed.rule).target >= less


@settings(max_examples=40, deadline=None)
@given(beds(), loads(known=False), groups)
def test_an_unknown_load_never_scales_down(bed: Bed, load: Load, seen: GroupCounts) -> None:
    before = min(bed.state.durable.target or 0, bed.limits.ceiling)
    assert decide(load, seen, state=bed.state, limits=bed.limits, now=NOW, rule=bed.rule).target >= before


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.2, 12),
    first=st.integers(1, 12),
    start=st.sampled_from([5.0, 60.0, 200.0]),
    slots=st.sampled_from([1, 4, 16]),
)
def test_a_constant_load_changes_no_direction_within_the_windows(
    *, rate: float, first: int, start: float, slots: int
) -> None:
    limits = Limits(floor=1, ceiling=200, slots=slots, start=start)
    bed = Bed.running(first, limits=limits, start=start)
    steps = list(changes(bed.run(rate, 700), first))
    keep = windows_for(limits, ()).keep
    for (second, step), (later, other) in pairwise(steps):
        assert step * other > 0 or later - second >= keep - 1
    assert sum(step * other < 0 for (_, step), (_, other) in pairwise(steps)) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 8), st.sampled_from([5.0, 60.0, 300.0]))
def test_what_is_starting_is_not_ordered_twice(waiting: int, serving: int, start: float) -> None:
    """The same queue is looked at each second until the groups that it got have started."""
    limits = Limits(floor=1, ceiling=1000, slots=8, start=start, step=1000)
    bed = Bed.running(serving, limits=limits, start=start)
    bed.run(serving * 0.8, 120)
    state, load = bed.state, reading(in_flight=serving * 8, waiting=waiting)
    before = state.durable.target or 0
    ordered = decide(load, GroupCounts(serving=serving), state=state, limits=limits, now=NOW)
    target, state = ordered.target, ordered.state
    for age in range(int(start)):
        starting = (float(age),) * max(0, target - serving)
        decision = decide(load, GroupCounts(serving, starting), state=state, limits=limits, now=NOW)
        state = decision.state
        assert decision.target <= max(ordered.target, before)


@settings(max_examples=25, deadline=None)
@given(RATES, st.lists(st.sampled_from([-3600, 3600]), min_size=1, max_size=4), st.integers(1, 6))
def test_clocks_that_jump_an_hour_change_nothing(rates: list[tuple[float, int]], jumps: list[int], first: int) -> None:
    def jumping(seconds: float) -> Any:
        return NOW + timedelta(seconds=seconds + sum(jumps[: int(seconds // 30)]))

    steady, other = Bed.running(first), Bed.running(first, now=jumping)
    for rate, seconds in rates:
        assert [one.target for one in steady.run(rate, seconds)] == [one.target for one in other.run(rate, seconds)]


@settings(max_examples=40, deadline=None)
@given(beds(), st.booleans())
def test_an_hour_that_was_not_there_takes_no_group(bed: Bed, known: bool) -> None:
    """A span of an hour for what came within a second, as from a clock that jumped."""
    bed.run(2.0, 60)
    load = replace(reading(arrived=2, in_flight=10, served=2, known=known), span=3600.0)
    before = bed.state.durable.target or 0
    assert (
        decide(load, GroupCounts(serving=before), state=bed.state, limits=bed.limits, now=NOW, rule=bed.rule).target
        >= min(before, bed.limits.ceiling) - 1
    )


@settings(max_examples=40, deadline=None)
@given(beds(), st.integers(1, 120))
def test_a_restart_takes_nothing_away(bed: Bed, seconds: int) -> None:
    restarted(bed)
    before = bed.state.durable.target or 0
    quick = windows_for(bed.limits, bed.state.durable.starts)
    seen = bed.run(0.0, min(seconds, int(max(quick.keep, quick.cooldown)) - 2))
    assert min(one.target for one in seen) >= min(before, bed.limits.ceiling)


@settings(max_examples=40, deadline=None)
@given(beds())
def test_the_first_reading_after_a_restart_changes_nothing(bed: Bed) -> None:
    restarted(bed)
    before = bed.state.durable.target or 0
    load = replace(reading(in_flight=before * min(bed.limits.slots, bed.limits.in_flight or 99)), span=0.0)
    assert decide(load, GroupCounts(serving=before), state=bed.state, limits=bed.limits, now=NOW).target == before


@settings(max_examples=30, deadline=None)
@given(beds())
def test_the_state_is_small(bed: Bed) -> None:
    assert isinstance(bed.state, PolicyState)
    assert len(list(numbers(astuple(bed.state)))) < 60

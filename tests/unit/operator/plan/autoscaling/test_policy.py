"""What the policy decides in worlds that a sentence describes."""

from dataclasses import replace
from itertools import pairwise

import pytest

from llama_operator.plan.autoscaling.formula.windows import horizon_for, windows_for
from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.policy import Decision, decide
from llama_operator.plan.autoscaling.situation import RuleNeed
from llama_operator.plan.autoscaling.state import DurableState, PolicyState
from llama_serving.config.reasons import ScaleReason
from tests.unit.operator.plan.autoscaling.autoscale_worlds import LIMITS, NOW, Bed, changes, reading, restarted, within

ZERO = within(LIMITS, floor=0, idle_after=300.0)


def last_change(decisions: list[Decision], first: int) -> Decision:
    second, _ = list(changes(decisions, first))[-1]
    return decisions[second]


def test_steady_load_keeps_its_groups() -> None:
    bed = Bed.running(4)
    seen = bed.run(2.5, 900)
    assert {one.target for one in seen} == {4}
    assert seen[-1].reason == ScaleReason.HOLDS_LOAD
    assert seen[-1].message == "4 groups hold the load; a group holds 8 requests at a time"


def test_sentences_of_a_steady_load_do_not_flicker() -> None:
    bed = Bed.running(4)
    bed.run(2.5, 300)
    assert len({(one.reason, one.message) for one in bed.run(2.5, 600)}) == 1


def test_step_gives_as_many_groups_as_it_takes() -> None:
    bed = Bed.running(1)
    bed.run(0.5, 300)
    seen = bed.run(6.0, 600)
    assert next(changes(seen, 1))[0] < 10
    assert max(one.target for one in seen) >= 7  # 6 a second x 8 s = 48 slots = 6 groups, and some to spare
    assert round(bed.waiting) == 0


def test_groups_go_one_at_a_time_and_the_rest_holds_the_load() -> None:
    bed = Bed.running(12)
    seen = bed.run(2.5, 900)
    steps = list(changes(seen, 12))
    assert {step for _, step in steps} == {-1}
    assert steps[0][0] >= windows_for(LIMITS, ()).keep - 1
    assert 3 <= seen[-1].target <= 4
    assert last_change(seen, 12).reason == ScaleReason.LESS_LOAD


def test_nothing_goes_within_the_cooldown_after_a_raise() -> None:
    bed = Bed.running(1, limits=within(LIMITS, cooldown=400.0))
    seen = bed.run(0.5, 300) + bed.run(8.0, 60) + bed.run(0.1, 800)
    up = max(second for second, step in changes(seen, 1) if step > 0)
    down = min(second for second, step in changes(seen, 1) if step < 0)
    assert down - up >= 400


@pytest.mark.parametrize("waiting", [1, 5, 40])
def test_first_request_at_zero_starts_a_group_at_once(waiting: int) -> None:
    decision = decide(
        reading(arrived=waiting, waiting=waiting),
        GroupCounts(),
        state=PolicyState(DurableState(target=0)),
        limits=ZERO,
        now=NOW,
    )
    assert decision.target == -(-waiting // 8) if waiting < 33 else decision.target == 4  # four are added at a time
    assert decision.reason == ScaleReason.FIRST_REQUEST
    assert f"{waiting} waiting" in decision.message


def test_speed_known_from_earlier_weighs_the_first_requests() -> None:
    """40 requests of 200 tokens at 0.04 s are 320 s of a slot: one group of 8 does it while another would start."""
    state = PolicyState(DurableState(target=0, seconds_per_token=0.04))
    assert decide(reading(waiting=40, arrived=40), GroupCounts(), state=state, limits=ZERO, now=NOW).target == 1


def test_to_zero_only_after_the_time_asked_for() -> None:
    bed = Bed.running(1, limits=ZERO)
    bed.run(0.5, 120)
    seen = bed.run(0.0, 700)
    (second, step), *more = changes(seen, 1)
    assert (step, more) == (-1, [])
    assert 300 <= second <= 400  # from the end of the last request on
    assert seen[second].reason == ScaleReason.IDLE
    assert seen[-1].message == "0 groups: no request waits; the first one starts a group"


def test_never_to_zero_with_a_floor() -> None:
    bed = Bed.running(2, limits=within(LIMITS, idle_after=60.0))
    assert bed.run(0.0, 900)[-1].target == 1


def test_unknown_load_keeps_everything_and_still_goes_up() -> None:
    bed = Bed.running(6)
    before = bed.run(4.0, 300)[-1].target
    seen = bed.run(0.0, 600, known=False)
    assert {one.target for one in seen} == {before}
    assert seen[-1].reason == ScaleReason.UNKNOWN
    assert max(one.target for one in bed.run(12.0, 120, known=False)) > before


def test_nothing_goes_in_a_rollout() -> None:
    bed = Bed.running(6, rolling=True)
    seen = bed.run(0.5, 900)
    assert {one.target for one in seen} == {6}
    assert seen[-1].reason == ScaleReason.ROLLING_OUT
    bed.rolling = False
    assert bed.run(0.5, 600)[-1].target < 6


def test_a_held_group_is_not_asked_for_again() -> None:
    bed = Bed.running(2, room=4)
    seen = bed.run(1.0, 120) + bed.run(12.0, 900)
    blocked = [one for one in seen if one.reason == ScaleReason.NO_ROOM]
    assert blocked[-1].target == max(one.target for one in seen) < LIMITS.ceiling
    assert "wait for capacity" in blocked[-1].message
    first = next(index for index, one in enumerate(seen) if one.reason == ScaleReason.NO_ROOM)
    assert {one.target for one in seen[first:]} == {blocked[-1].target}


def test_the_ceiling_is_said() -> None:
    bed = Bed.running(2, limits=within(LIMITS, ceiling=3))
    seen = bed.run(10.0, 600)
    assert (seen[-1].target, seen[-1].reason) == (3, ScaleReason.AT_MAXIMUM)


@pytest.mark.parametrize(
    ("limits", "target", "word"),
    [
        (within(LIMITS, floor=4), 4, ScaleReason.AT_MINIMUM),
        (within(LIMITS, ceiling=2), 2, ScaleReason.AT_MAXIMUM),
    ],
)
def test_other_limits_are_followed_at_once(limits: Limits, target: int, word: ScaleReason) -> None:
    decision = decide(
        reading(in_flight=12), GroupCounts(serving=3), state=PolicyState(DurableState(target=3)), limits=limits, now=NOW
    )
    assert (decision.target, decision.reason) == (target, word)


def test_without_a_record_it_begins_at_the_floor() -> None:
    decision = decide(reading(), GroupCounts(), state=PolicyState(), limits=within(LIMITS, floor=2), now=NOW)
    assert decision.target == decision.state.durable.target == 2


def test_no_decision_adds_more_than_the_step() -> None:
    bed = Bed.running(1, limits=within(LIMITS, step=2))
    seen = bed.run(0.5, 120) + bed.run(15.0, 300)
    steps = [step for _, step in changes(seen, 1)]
    assert max(steps) == 2
    assert seen[-1].target >= 15


def test_credit_for_groups_that_are_nearly_there() -> None:
    """The same queue: with two groups about to serve nothing is ordered, with two just made there is."""
    bed = Bed.running(4)
    bed.run(3.5, 600)
    load = reading(arrived=3, in_flight=32, waiting=100, served=3)
    state = PolicyState(DurableState(target=6), bed.state.history)
    soon, late = (
        decide(load, GroupCounts(4, (age, age)), state=state, limits=LIMITS, now=NOW).target for age in (50.0, 1.0)
    )
    assert soon == 6
    assert late > soon


def test_a_restart_forgets_no_target() -> None:
    bed = Bed.running(4)
    bed.run(2.5, 600)
    for _ in range(10):
        restarted(bed)
        assert {one.target for one in bed.run(2.5, 20)} == {4}


def test_after_a_restart_nothing_goes_before_the_windows_are_full() -> None:
    bed = Bed.running(8, limits=within(LIMITS, cooldown=200.0))
    before = bed.run(5.0, 600)[-1].target
    restarted(bed)
    seen = bed.run(0.5, 400)
    second, step = next(changes(seen, before))
    assert step == -1
    assert second >= 199
    assert ScaleReason.MEASURING in {one.reason for one in seen[:second]}


def test_the_horizon_is_the_p90_of_starts() -> None:
    assert horizon_for(LIMITS, ()) == 60.0
    assert horizon_for(LIMITS, tuple(map(float, range(10, 110, 10)))) == 90.0


def test_wanted_requests_in_flight_take_the_place_of_slots() -> None:
    few = Bed.running(12)
    many = Bed.running(12, limits=within(LIMITS, in_flight=4))
    assert many.run(2.5, 900)[-1].target > few.run(2.5, 900)[-1].target


def test_the_sentence_of_a_raise_has_its_numbers() -> None:
    decision = decide(
        reading(arrived=12, waiting=12, in_flight=8),
        GroupCounts(1),
        state=PolicyState(DurableState(target=1)),
        limits=LIMITS,
        now=NOW,
    )
    assert decision.target == 3
    assert decision.reason == ScaleReason.REQUESTS_WAIT
    assert decision.message == (
        "3 groups for 8 requests in flight and 12 waiting; a group holds 8 at a time, starts in 60 s"
    )


def test_a_short_stable_window_lets_groups_go_soon() -> None:
    asked = within(ZERO, stable=20.0, panic=5.0, cooldown=10.0, idle_after=20.0, start=5.0)
    bed = Bed.running(3, limits=asked, start=5.0)
    bed.run(1.6, 120)
    bed.in_flight = bed.waiting = 0.0
    assert bed.run(0.0, 75)[-1].target == 0
    bed.waiting = 1.0
    assert bed.second(0.0).target == 1


def test_nothing_goes_while_a_request_waits() -> None:
    bed = Bed.running(6)
    lowered = 0
    for _ in range(150):
        before, state = bed.state.durable.target or 0, bed.state
        quiet, waits = (
            decide(reading(waiting=waiting), GroupCounts(serving=before), state=state, limits=LIMITS, now=NOW).target
            for waiting in (0, 1)
        )
        lowered += quiet < before
        assert waits == before
        bed.second(0.5)
    assert lowered


# -- by another rule than the formula ---------------------------------------------------------------------------------


def by_rule(groups: int, *, target: int = 4, with_formula: bool = False, rate: float = 2.0) -> Bed:
    """A deployment of ``target`` groups with a load for two or three, which follows a rule from now on."""
    bed = Bed.running(target)
    bed.run(rate, 400)
    bed.rule = RuleNeed(groups, "80 % of the slots", with_formula=with_formula)
    return bed


def test_a_rule_raises_at_once_and_says_so() -> None:
    decision = by_rule(7, target=5).second(2.0)
    assert (decision.target, decision.reason) == (7, ScaleReason.RULE)
    assert "the rule that is followed (80 % of the slots) asks for 7" in decision.message


def test_a_rule_lets_one_group_go_at_a_time_a_sixtieth_of_a_start_apart() -> None:
    bed = by_rule(1, target=4)
    bed.limits = replace(bed.limits, start=300.0)
    first = bed.state.durable.target
    assert first is not None
    targets = [one.target for one in bed.run(0.2, 30)]
    steps = [second for second, (one, other) in enumerate(pairwise([first, *targets])) if other < one]
    assert targets[-1] == 1
    assert all(later - earlier >= 5 for earlier, later in pairwise(steps)), steps
    assert all(one - other <= 1 for one, other in pairwise([first, *targets]))


def test_a_queue_counts_beside_a_rule() -> None:
    bed = by_rule(2, target=2, rate=1.0)
    assert max(one.target for one in bed.run(6.0, 60)) > 2


@pytest.mark.parametrize(("groups", "target"), [(8, 8), (1, 4)])
def test_the_larger_of_both_counts_where_both_do(groups: int, target: int) -> None:
    bed = by_rule(groups, target=4, with_formula=True, rate=3.0)
    assert bed.second(3.0).target == target


def test_no_more_is_kept_than_the_formula_came_to_alone() -> None:
    bed = by_rule(5, target=5, rate=3.4)
    bed.rule = None
    assert {one.target for one in bed.run(3.4, 300)} == {5}, "between what is certain and what is likely all stays"
    bed.rule = RuleNeed(4, "the formula", only_down=True)
    seen = bed.run(3.4, 300)
    assert {one.target for one in seen} == {4}
    assert seen[0].reason is ScaleReason.LESS_LOAD
    assert "4 groups instead of 5: the rule that is followed (the formula) asks for 4" in seen[0].message


def test_a_sentence_names_what_lets_a_group_go() -> None:
    """The formula needs fewer than it had come to alone: its own need is why."""
    bed = by_rule(5, target=5, rate=3.4)
    bed.rule = RuleNeed(6, "the formula", only_down=True)
    down = next(one for one in bed.run(1.0, 600) if one.reason is ScaleReason.LESS_LOAD)
    assert "were needed within the last" in down.message
    assert "asks for 6" not in down.message


def test_what_the_formula_came_to_alone_holds_no_raise_back() -> None:
    bed = by_rule(3, target=3, rate=2.0)
    bed.rule = RuleNeed(3, "the formula", only_down=True)
    assert max(one.target for one in bed.run(6.0, 120)) > 3


def test_a_rule_takes_nothing_away_in_a_rollout() -> None:
    bed = by_rule(1)
    bed.rolling = True
    assert bed.run(2.0, 60)[-1].target == bed.state.durable.target
    assert bed.second(2.0).reason is ScaleReason.ROLLING_OUT


@pytest.mark.parametrize("groups", [1, 5])
def test_a_rule_keeps_no_group_for_an_idle_deployment(groups: int) -> None:
    bed = by_rule(groups, target=groups, rate=0.5)
    bed.limits = replace(bed.limits, floor=0, idle_after=60)
    seen = bed.run(0.0, 400)
    assert seen[-1].target == 0
    assert seen[-1].reason == ScaleReason.IDLE
    assert bed.second(0.0).target == 0, "nor does it start one"

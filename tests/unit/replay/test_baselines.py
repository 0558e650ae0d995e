"""Each rule against numbers worked out from its published formula."""

import math
from itertools import pairwise

import pytest

from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.baselines import hpa, keda, knative, ray
from llama_operator.replay.baselines.window import Window
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Policy, Seen, Static

TEN = Parameters(slots=10, minReplicas=0)


def seen(now: float, requests: float, *, serving: int, target: int | None = None) -> Seen:
    load = Load(known=True, span=1.0, in_flight=math.floor(requests))
    return Seen(now, load, GroupCounts(serving=serving), serving if target is None else target, requests, ())


def follow(policy: Policy, demand: list[tuple[float, float]], *, serving: int) -> list[int]:
    """GroupCounts second by second; new ones serve at once. ``demand``: (seconds, requests)."""
    found: list[int] = []
    now, decided = 0.0, -math.inf
    for seconds, requests in demand:
        for _ in range(int(seconds)):
            now += 1.0
            one = seen(now, requests, serving=serving)
            policy.watch(one)
            if now - decided >= policy.interval:
                decided, serving = now, policy.decide(one)
            found.append(serving)
    return found


def test_static_stays() -> None:
    assert follow(Static(3), [(60, 100)], serving=3) == [3] * 60


def test_window_forgets_what_is_too_old() -> None:
    window = Window(10)
    for now, value in ((0, 6.0), (5, 2.0), (10, 4.0)):
        window.add(now, value)
    assert (window.mean(), window.max(), window.sum()) == (3.0, 4.0, 6.0)


def test_knative_wants_demand_over_seventy_percent_of_the_slots() -> None:
    policy = knative.Knative(TEN, knative.Settings(), 1)
    assert follow(policy, [(120, 35)], serving=1)[-1] == 5  # 35 / 7


def test_knative_panics_within_its_six_seconds_and_does_not_fall_for_a_minute() -> None:
    policy = knative.Knative(TEN, knative.Settings(), 1)
    # 70 requests for six seconds: the stable window's mean rises to 10 (of 42 s), the panic window's to 70.
    groups = follow(policy, [(60, 7), (6, 70), (120, 7)], serving=1)
    assert groups[59] == 1
    assert groups[66] >= 9  # 70 / 7, as far as the last six seconds at the even second hold it
    held = [second for second, number in enumerate(groups) if number == max(groups)]
    # A stable window from when it was last over the threshold, which is a few seconds before it has all it wants.
    assert held[-1] - held[0] >= 55
    assert groups[-1] == 1


def test_knative_never_halves_more_than_once_a_decision() -> None:
    policy = knative.Knative(TEN, knative.Settings(stable=6), 1)
    groups = follow(policy, [(30, 70), (60, 7)], serving=8)
    falls = [(one, later) for one, later in pairwise(groups) if later < one]
    assert falls
    assert all(later >= one // 2 for one, later in falls)


def test_knative_goes_to_zero_after_the_grace() -> None:
    groups = follow(knative.Knative(TEN, knative.Settings(), 1), [(10, 5), (120, 0)], serving=1)
    first = groups.index(0)
    assert 10 + 60 + 30 - 2 <= first <= 10 + 60 + 30 + 4


def test_knatives_scale_down_delay_keeps_the_largest_number_of_its_time() -> None:
    policy = knative.Knative(TEN, knative.Settings(down_delay=300), 1)
    groups = follow(policy, [(120, 35), (290, 7)], serving=5)
    assert min(groups[130:]) == 5


@pytest.mark.parametrize(("requests", "wanted"), [(24, 3), (25, 3), (26.4, 3), (28, 4), (17, 3)])
def test_hpa_has_a_tolerance_of_ten_percent_and_a_stabilisation(requests: float, wanted: int) -> None:
    policy = hpa.Hpa(TEN, hpa.Settings(), 3)  # 8 requests a group
    assert policy.decide(seen(15, requests, serving=3)) == wanted


def test_hpa_falls_after_its_window_only() -> None:
    groups = follow(hpa.Hpa(TEN, hpa.Settings(), 5), [(30, 40), (400, 8)], serving=5)
    fell = next(second for second, number in enumerate(groups) if number == 1)
    assert groups[fell - 1] == 5
    # The last decision that wanted 5 was at 16 s; the first later than 300 s after it is at 316 s.
    assert fell + 1 == 316


def test_hpa_adds_four_or_doubles_within_its_period() -> None:
    groups = follow(hpa.Hpa(TEN, hpa.Settings(), 1), [(60, 400)], serving=1)
    assert list(dict.fromkeys(groups)) == [5, 10, 20, 40]


def test_hpa_stays_within_the_limits() -> None:
    few = TEN.model_copy(update={"minReplicas": 2, "maxReplicas": 4})
    assert max(follow(hpa.Hpa(few, hpa.Settings(), 2), [(60, 400)], serving=2)) == 4
    assert follow(hpa.Hpa(few, hpa.Settings(), 2), [(900, 1)], serving=2)[-1] == 2


def test_keda_wakes_at_its_polling_and_sleeps_after_its_cooldown() -> None:
    groups = follow(keda.Keda(TEN, keda.Settings(), 0), [(40, 0), (60, 3), (700, 0)], serving=0)
    woke, slept = groups.index(1), 100 + groups[100:].index(0)
    assert 40 <= woke <= 70
    # Something was in the queue until second 100; it is looked at every 30 s.
    assert 370 <= slept <= 430
    assert set(groups[slept:]) == {0}


def test_keda_wants_five_requests_for_each_group() -> None:
    assert follow(keda.Keda(TEN, keda.Settings(), 1), [(120, 30)], serving=1)[-1] == 6


def test_ray_waits_thirty_seconds_up_and_ten_minutes_down() -> None:
    groups = follow(ray.Ray(TEN, ray.Settings()), [(60, 2), (60, 8), (800, 2)], serving=1)
    up = next(second for second, number in enumerate(groups) if number > 1)
    assert 60 + 29 <= up <= 60 + 33  # the mean over 30 s is above 2 at once
    assert max(groups) == 4
    down = next(second for second in range(up, len(groups)) if groups[second] < max(groups))
    # For three groups to do, the mean must fall from 8 to 6, which takes 10 of the 30 s.
    assert 130 + 598 <= down <= 130 + 602


@pytest.mark.parametrize(
    ("requests", "running", "target", "expected"),
    [
        (8.0, 2, 2, 4),  # 8 / 2
        (7.0, 2, 2, 4),  # rounded up
        (3.0, 0, 0, 1),  # nothing runs: the factor at once
        (0.0, 0, 0, 0),
        (0.0, 0, 3, 3),  # three are on their way
        (0.0, 3, 3, 1),  # not below one, but from one
        (0.0, 1, 1, 0),
    ],
)
def test_ray_step(*, requests: float, running: int, target: int, expected: int) -> None:
    hasty = ray.Settings(up_delay=0, down_delay=0)
    number, _ = ray.step(hasty, ray.Delay(), requests=requests, running=running, target=target, now=5.0)
    assert number == expected


def test_a_ray_factor_that_would_stand_still_takes_one_away() -> None:
    slow = ray.Settings(down_delay=0, down_factor=0.1)
    assert ray.step(slow, ray.Delay(), requests=12.0, running=8, target=8, now=0.0)[0] == 7

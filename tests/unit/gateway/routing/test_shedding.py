"""Requests that would wait too long are refused at once: by how long requests have a slot, and fairly."""

from math import ceil

import pytest

from benchmarks.shedding import run
from llama_serving.gateway.routing.completion_rate import MAX_RETRY_AFTER
from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.router import Limits, QueueFull, Router
from llama_serving.gateway.routing.slot_time import KNOWN_FROM
from tests.unit.gateway.routing.worlds import admit, endpoint


def busy(*, shed_after: float | None = 5.0, waiting: int = 0, completions: int = 10, now: float = 10.0) -> Router:
    """One group with one slot, one completion a second so far, and so many that wait."""
    world = Router(Limits(1, 1000, 300, 10, 1, shed_after))
    world.update([endpoint("a")], 0.0)
    for number in range(completions):
        world.finish(admit(world, now - completions + number), now - completions + number + 1)
    admit(world, now)
    world.limits = Limits(1, 1000, 300, 10, 1)
    for _ in range(waiting):
        admit(world, now)
    world.limits = Limits(1, 1000, 300, 10, 1, shed_after)
    return world


def refusal(world: Router, now: float = 10.0, flow: Flow | None = None) -> QueueFull | None:
    found = world.admit(now, flow=flow)
    return found if isinstance(found, QueueFull) else None


@pytest.mark.parametrize(("waiting", "late"), [(0, False), (2, False), (3, True), (50, True)])
def test_who_would_wait_too_long_is_refused(waiting: int, *, late: bool) -> None:
    found = refusal(busy(waiting=waiting))
    assert (found is not None) == late
    if found:
        assert found.expected_wait == pytest.approx(waiting + 1 + (waiting + 1) ** 0.5)
        assert found.retry_after == min(ceil(waiting + 1 + (waiting + 1) ** 0.5 - 5), MAX_RETRY_AFTER)
        assert found.allowed == 5.0


def test_all_wait_where_nothing_is_set() -> None:
    assert refusal(busy(shed_after=None, waiting=500)) is None


def test_nobody_is_refused_while_nobody_knows_how_long_requests_take() -> None:
    assert refusal(busy(waiting=500, completions=KNOWN_FROM - 1)) is None


def test_nobody_is_refused_while_no_group_is_ready() -> None:
    """The first request for a deployment at zero has to wait: it is what starts a group."""
    world = busy(waiting=500)
    world.update([endpoint("a", ready=False)], 10.0)
    assert refusal(world) is None


def test_a_client_does_not_wait_behind_all_requests_of_another() -> None:
    world = busy()
    greedy, modest = Flow(), Flow()
    for _ in range(3):
        assert refusal(world, flow=greedy) is None
    assert refusal(world, flow=greedy) is not None
    assert refusal(world, flow=modest) is None


def test_a_free_slot_is_taken_however_long_requests_take() -> None:
    world = Router(Limits(100, 1000, 300, 10, 1, 0.001))
    world.update([endpoint("a")], 0.0)
    for second in range(0, 100, 10):
        world.finish(admit(world, second), second + 9.0)
    assert refusal(world, now=100.0) is None


@pytest.mark.parametrize("load", [1.5, 3.0])
def test_with_too_much_load_those_that_are_served_are_served_in_time(load: float) -> None:
    without, with_it = (run(load, shed_after=one, seconds=600.0) for one in (None, 5.0))
    assert without.in_time < 0.2 * without.arrived, "without it nearly all are late"
    assert with_it.in_time > 0.85 * len(with_it.waits), "with it nearly none is"
    assert len(with_it.waits) > 0.9 / load * with_it.arrived, "and the slots are as full"


def test_with_little_load_hardly_anybody_is_refused() -> None:
    found = run(0.7, shed_after=5.0, seconds=600.0)
    assert found.refused <= 0.005 * found.arrived

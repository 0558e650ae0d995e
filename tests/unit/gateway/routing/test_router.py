"""Who gets which group, who waits, who is refused."""

import pytest

from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.request_size import RequestSize, WorkTotals
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.router import QueueFull
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import (
    BROKE,
    BUSY,
    INTERNAL,
    REFUSED,
    admit,
    endpoint,
    fail,
    probe,
    router,
    where,
)


def test_equal_groups_take_turns() -> None:
    world = router("a", "b", "c", in_flight=5)
    assert where(*[admit(world) for _ in range(6)]) == ["a", "b", "c", "a", "b", "c"]


def test_turns_are_kept_when_nothing_overlaps() -> None:
    world = router("a", "b")
    seen = []
    for _ in range(4):
        ticket = admit(world)
        seen += where(ticket)
        world.finish(ticket, 0.0)
    assert seen == ["a", "b", "a", "b"]


def test_the_least_loaded_group_is_next() -> None:
    world = router("a", "b", in_flight=5)
    tickets = [admit(world) for _ in range(4)]
    world.finish(tickets[1], 0.0)
    world.finish(tickets[3], 0.0)
    assert where(admit(world), admit(world), admit(world)) == ["b", "b", "a"]


def test_above_the_limit_requests_wait_in_order_of_arrival() -> None:
    world = router("a", in_flight=1)
    first, second, third = admit(world), admit(world), admit(world)
    assert where(first, second, third) == ["a", "-", "-"]
    assert world.finish(first, 1.0) == [second]
    assert world.finish(second, 2.0) == [third]


def test_requests_are_held_while_no_group_is_ready() -> None:
    world = router()
    first, second = admit(world), admit(world)
    assert world.update([endpoint("a", ready=False)], 1.0) == []
    assert world.update([endpoint("a")], 2.0) == [first, second]
    assert (first.waited, second.waited) == (2.0, 2.0)


def test_a_request_has_used_the_slots_of_all_its_attempts() -> None:
    world = router("a", "b", in_flight=1)
    ticket = admit(world, 1.0)
    assert fail(world, ticket, REFUSED, now=3.0)
    world.finish(ticket, 7.0)
    assert ticket.used == (3.0 - 1.0) + (7.0 - 3.0)


def test_what_is_no_work_waits_and_runs_without_being_counted() -> None:
    world = router(in_flight=2)
    look, ask = world.admit(1.0, None), world.admit(2.0, RequestSize(10, 20))
    assert (len(world.queue), world.queue.work) == (2, WorkTotals(1, 10, 20))
    assert world.oldest_wait(5.0) == 3.0
    assert world.update([endpoint("a")], 5.0) == [look, ask]
    assert (world.in_flight(), world.backends["a"].in_flight, world.queue.work) == (1, 2, WorkTotals())
    assert isinstance(look, Ticket)
    world.finish(look, 6.0)
    assert (world.in_flight(), world.backends["a"].in_flight) == (1, 1)


def test_more_than_may_wait_are_refused_with_the_time_that_the_queue_needs() -> None:
    world = router("a", in_flight=1, waiting=2)
    running = admit(world)
    for second in range(60):
        world.finish(running, float(second))
        running = admit(world, float(second))
    admit(world, 60.0)
    admit(world, 60.0)
    assert world.admit(60.0) == QueueFull(waiting=2, retry_after=2)


def test_with_no_room_to_wait_a_free_group_is_still_used() -> None:
    world = router("a", in_flight=1, waiting=0)
    assert where(admit(world)) == ["a"]
    assert isinstance(world.admit(0.0), QueueFull)


def test_a_request_that_leaves_the_line_leaves_at_once() -> None:
    world = router("a", in_flight=1)
    first, second, third = admit(world), admit(world), admit(world)
    world.finish(second, 1.0)
    assert len(world.queue) == 1
    assert world.finish(first, 2.0) == [third]


def test_leaving_twice_frees_one_slot() -> None:
    world = router("a", in_flight=2)
    first, _ = admit(world), admit(world)
    world.finish(first, 0.0)
    world.finish(first, 0.0)
    assert world.in_flight() == 1


def test_a_failed_request_goes_to_another_group() -> None:
    world = router("a", "b")
    ticket = admit(world)
    assert fail(world, ticket, BUSY)
    assert where(ticket) == ["b"]


def test_a_dead_group_does_not_draw_all_requests() -> None:
    world = router("dead", "alive", in_flight=100)
    tickets = [admit(world) for _ in range(2)]
    assert fail(world, tickets[0], REFUSED)
    assert set(where(*tickets, *[admit(world) for _ in range(20)])) == {"alive"}


def test_a_failed_request_waits_when_all_groups_failed_it_and_comes_before_all_others() -> None:
    world = router("a", in_flight=1)
    failed, other = admit(world), admit(world)
    assert fail(world, failed, REFUSED)
    assert where(failed, other) == ["-", "-"]
    assert probe(world, 0.5) == []
    assert probe(world, 1.0) == ["a"]
    assert where(failed, other) == ["a", "-"]


def test_a_soft_fault_lets_others_pass_to_the_group_until_a_probe_shows_that_it_works() -> None:
    world = router("a", in_flight=1)
    failed, other = admit(world), admit(world)
    assert fail(world, failed, INTERNAL)
    assert where(failed, other) == ["-", "a"]
    world.finish(other, 0.1)
    assert where(failed) == ["-"]
    assert probe(world, 0.2) == ["a"]
    assert where(failed) == ["a"]


def test_many_503_do_not_burn_the_retries_at_once() -> None:
    world = router("a")
    ticket = admit(world)
    now, tries = 0.0, 0
    while now < 60 and ticket.backend:
        tries += 1
        if not fail(world, ticket, BUSY, now=now):
            break
        while ticket.backend is None and now < 60:
            probe(world, now)
            now += 0.25
    assert tries < 10
    assert now > 30


def test_a_bad_probe_keeps_the_group_out() -> None:
    world = router("a")
    ticket = admit(world)
    fail(world, ticket, REFUSED)
    assert probe(world, 1.0, good=False) == ["a"]
    assert where(ticket) == ["-"]
    assert world.next_probe() == 3.0


def test_discovery_brings_an_ejected_group_back_at_once() -> None:
    world = router("a")
    ticket = admit(world)
    fail(world, ticket, REFUSED)
    world.update([endpoint("a", ready=False)], 0.1)
    assert world.update([endpoint("a")], 0.2) == [ticket]


def test_a_group_that_vanished_and_is_listed_again_gets_what_failed_at_it_before() -> None:
    world = router("a")
    ticket = admit(world)
    fail(world, ticket, REFUSED)
    world.update([], 0.1)
    assert world.update([endpoint("a")], 0.2) == [ticket]


def test_the_same_news_again_does_not() -> None:
    world = router("a")
    ticket = admit(world)
    fail(world, ticket, REFUSED)
    assert world.update([endpoint("a", weights="w2")], 0.2) == []
    assert where(ticket) == ["-"]


def test_a_group_that_is_not_ready_is_not_probed() -> None:
    world = router("a")
    fail(world, admit(world), REFUSED)
    world.update([endpoint("a", ready=False)], 0.1)
    assert world.next_probe() is None


def test_a_group_that_is_gone_keeps_its_count_until_its_last_request_has_ended() -> None:
    world = router("a", "b")
    ticket, _ = admit(world), admit(world)
    world.update([endpoint("b")], 1.0)
    assert world.backends["a"].in_flight == 1
    assert where(admit(world)) == ["b"]
    world.finish(ticket, 2.0)
    assert list(world.backends) == ["b"]


def test_a_leader_that_was_created_again_starts_with_no_load_and_no_failures() -> None:
    world = router("a", in_flight=1)
    old = admit(world)
    waiting = admit(world)
    world.update([endpoint("a", key="new")], 1.0)
    assert where(waiting) == ["a"]
    assert {key: backend.in_flight for key, backend in world.backends.items()} == {"a": 1, "new": 1}
    world.finish(old, 2.0)
    assert world.backends["new"].in_flight == 1


def test_time_on_a_group_is_not_time_spent_waiting() -> None:
    world = router("a", wait=100)
    ticket = admit(world, 0.0)
    fail(world, ticket, REFUSED, now=500.0)
    assert world.deadline(ticket) == 600.0
    probe(world, 540.0)
    fail(world, ticket, REFUSED, now=700.0)
    assert world.deadline(ticket) == 760.0


def test_the_oldest_wait_is_that_of_the_longest_waiting() -> None:
    world = router("a", in_flight=1)
    admit(world, 0.0)
    assert world.oldest_wait(5.0) == 0.0
    admit(world, 6.0)
    admit(world, 8.0)
    assert world.oldest_wait(9.0) == 3.0


def test_the_reason_has_numbers() -> None:
    world = router("a", "b", in_flight=1)
    world.update([endpoint("a"), endpoint("b"), endpoint("c", ready=False)], 0.0)
    fail(world, admit(world), REFUSED)
    admit(world)
    expected = "3 groups known, 2 ready, 1 of those ejected after failures, 1 of 2 slots in use, 1 requests waiting"
    assert world.why_waiting() == expected


def test_a_request_without_a_group_cannot_fail() -> None:
    world = router()
    with pytest.raises(ValueError, match="without a backend"):
        world.may_retry(admit(world), REFUSED, 0.0)


def test_an_answer_that_has_begun_goes_on_with_the_same_weights_only() -> None:
    world = router()
    world.update([endpoint("a"), endpoint("b", weights="w2"), endpoint("c", ready=False)], 0.0)
    ticket = admit(world)
    ticket.weights, ticket.tries.answer_begun = "w1", True
    assert fail(world, ticket, BROKE)
    assert where(ticket) == ["-"]
    assert world.update([endpoint("a", ready=False), endpoint("b", weights="w2"), endpoint("c")], 1.0) == [ticket]
    assert where(ticket) == ["c"]


def test_others_do_not_wait_for_the_weights_of_one() -> None:
    world = router("a", in_flight=1)
    broken, other = admit(world), admit(world)
    broken.weights = "w1"
    fail(world, broken, BROKE)
    assert world.update([endpoint("a", weights="w2")], 1.0) == []
    assert where(broken, other) == ["-", "a"]


def test_an_answer_of_two_minds_says_nothing_about_the_group() -> None:
    world = router("a")
    ticket = admit(world)
    assert fail(world, ticket, AttemptFault(FaultKind.DIFFERS, "its text differs"))
    assert where(ticket) == ["a"]
    assert world.next_probe() is None


@pytest.mark.parametrize(
    ("endpoints", "moves"),
    [
        ([endpoint("a"), endpoint("b")], False),
        ([endpoint("a", moving=True)], False),
        ([endpoint("a", moving=True), endpoint("b")], True),
        ([endpoint("a", moving=True), endpoint("b", weights="w2")], False),
        ([endpoint("a", moving=True), endpoint("b", ready=False)], False),
        ([endpoint("a", moving=True), endpoint("b", moving=True)], False),
        ([endpoint("a", weights="", moving=True), endpoint("b", weights="")], False),
    ],
)
def test_streams_move_when_another_group_has_their_weights(endpoints: list[Endpoint], moves: bool) -> None:
    world = router("a")
    ticket = admit(world)
    world.update(endpoints, 1.0)
    assert world.can_move(ticket) is moves


def test_who_waits_does_not_move() -> None:
    world = router()
    assert not world.can_move(admit(world))

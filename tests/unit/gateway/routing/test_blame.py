"""Whose fault a failure is: who is taken out, who is not, and how far a request that is itself the cause comes."""

import pytest

from llama_serving.gateway.routing.ejection import STRIKES
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.ticket import Ticket
from tests.unit.gateway.routing.worlds import (
    BROKE,
    BUSY,
    INTERNAL,
    REFUSED,
    RESET,
    admit,
    ejected,
    endpoint,
    fail,
    probe,
    router,
    where,
)

HANG = AttemptFault(FaultKind.READ_TIMEOUT, "silent")


def test_streams_that_break_off_and_go_on_elsewhere_are_strikes() -> None:
    world = router("a", "b", in_flight=9)
    world.update([endpoint("a"), endpoint("b", ready=False)], 0.0)
    streams = [admit(world) for _ in range(3)]
    world.update([endpoint("a"), endpoint("b")], 0.0)
    for stream in streams:
        stream.weights, stream.tries.answer_begun = "w1", True
        assert fail(world, stream, BROKE)
        assert where(stream) == ["b"]
        world.answered(stream, 1.0)
        assert not world.backends["a"].health.ejected, "who goes on may still break off itself"
        world.completed(stream, 1.0)
        world.finish(stream, 1.0)
    assert world.backends["a"].health.ejected


def test_the_second_500_is_the_requests_own() -> None:
    world = router("a", "b", "c")
    ticket = admit(world)
    assert fail(world, ticket, INTERNAL)
    assert not fail(world, ticket, INTERNAL)
    assert ejected(world) == []


def test_a_request_that_breaks_its_connections_stops_at_the_second_group_that_lives() -> None:
    world = router("a", "b", "c", "d", "e")
    ticket = admit(world)
    assert fail(world, ticket, RESET)
    assert where(ticket) == ["b"]
    assert fail(world, ticket, RESET)
    assert where(ticket) == ["-"], "whether it or the groups are at fault is open"
    assert probe(world, 0.0) == ["a", "b"]
    assert ticket.is_cause
    assert where(ticket) == ["-"]
    assert "2 groups that answer others failed this request" in ticket.last_fault
    assert ejected(world) == []


def test_an_answer_to_another_shows_that_a_group_lives_too() -> None:
    world = router("a", "b", "c", in_flight=9)
    poison = admit(world)
    others = [admit(world) for _ in range(5)]
    assert fail(world, poison, RESET)
    assert fail(world, poison, RESET)
    for other in others:
        if where(other) != ["c"]:
            world.answered(other, 0.1)
    assert poison.is_cause


def test_a_request_that_groups_die_of_is_stopped() -> None:
    world = router("a", "b", "c", "d", "e")
    ticket = admit(world)
    retried = []
    for _ in range(3):
        retried.append(fail(world, ticket, RESET))
        probe(world, 0.0, good=False)
    assert retried == [True, True, False]
    assert ejected(world) == ["a", "b", "c"]


def test_who_was_on_a_group_that_died_goes_on_at_once() -> None:
    world = router("a", "b", in_flight=20)
    tickets = [admit(world) for _ in range(20)]
    dead = [ticket for ticket in tickets if where(ticket) == ["a"]]
    assert all(fail(world, ticket, RESET) for ticket in dead)
    assert set(where(*tickets)) == {"b"}
    assert probe(world, 0.0, good=False) == ["a"]
    assert ejected(world) == ["a"]


@pytest.mark.parametrize("fault", [INTERNAL, RESET, BUSY, AttemptFault(FaultKind.PROTOCOL_ERROR, "no HTTP")])
def test_a_group_that_fails_what_another_answers_is_out_after_three_requests(fault: AttemptFault) -> None:
    world = router("sick", "well", in_flight=9)
    failed = 0
    for _ in range(20):
        ticket = admit(world)
        if where(ticket) == ["sick"]:
            failed += 1
            assert fail(world, ticket, fault)
            assert where(ticket) == ["well"]
        world.answered(ticket, 0.0)
        world.completed(ticket, 0.0)
        world.finish(ticket, 0.0)
    assert (failed, ejected(world)) == (STRIKES, ["sick"])


def test_one_request_is_one_strike_however_often_it_fails() -> None:
    world = router("a", in_flight=9)
    tickets = [admit(world) for _ in range(2)]
    for now in (0.0, 10.0, 20.0):
        for ticket in tickets:
            assert fail(world, ticket, BUSY, now=now)
        assert probe(world, now + 9.0) == ["a"]
    world.update([endpoint("a"), endpoint("b")], 200.0)
    for ticket in tickets:
        assert fail(world, ticket, BUSY, now=300.0)
        assert where(ticket) == ["b"]
        world.answered(ticket, 300.0)
    assert ejected(world) == []


def test_counting_tokens_does_not_show_that_an_engine_works() -> None:
    world = router("sick", "well", in_flight=99)
    for _ in range(8):
        ticket, count = admit(world), world.admit(0.0, RequestSize(0, 0))
        assert isinstance(count, Ticket)
        for one in (ticket, count):
            if where(one) == ["sick"] and one is ticket:
                assert fail(world, one, INTERNAL)
            world.answered(one, 0.0)
            world.completed(one, 0.0)
        world.finish(ticket, 0.0)
    assert ejected(world) == ["sick"]


def test_when_the_others_are_gone_the_one_that_was_struck_out_is_back() -> None:
    world = router("sick", "well", in_flight=9)
    while not ejected(world):
        ticket = admit(world)
        if where(ticket) == ["sick"]:
            fail(world, ticket, INTERNAL)
        world.answered(ticket, 0.0)
        world.finish(ticket, 0.0)
    waiting = admit(world)
    assert where(waiting) == ["well"]
    assert fail(world, waiting, REFUSED)
    assert where(waiting) == ["sick"]
    assert ejected(world) == ["well"]


@pytest.mark.parametrize(("answers_between", "out"), [(False, ["a"]), (True, [])])
def test_hangs_are_strikes_where_the_group_answered_nobody_meanwhile(answers_between: bool, out: list[str]) -> None:
    world = router("a", "b", in_flight=99)
    tickets = [admit(world) for _ in range(10)]
    for ticket in tickets:
        if where(ticket) == ["b"]:
            world.answered(ticket, 1.0)
    if answers_between:
        world.answered(tickets[0], 1.0)
    for ticket in tickets[1:]:
        if where(ticket) == ["a"]:
            assert not fail(world, ticket, HANG, now=600.0)
    assert ejected(world) == out


def test_poison_that_nobody_may_get_does_not_fill_the_queue() -> None:
    world = router("a", in_flight=4, waiting=50)
    retried = 0
    for _ in range(200):
        poison = admit(world)
        if fail(world, poison, INTERNAL):
            retried += 1
        else:
            world.finish(poison, 0.0)
    assert retried == len(world.queue) == 4
    assert where(admit(world)) == ["a"]


def test_a_lack_of_our_own_says_nothing_about_a_group() -> None:
    world = router("a", "b")
    ticket = admit(world)
    assert fail(world, ticket, AttemptFault(FaultKind.LOCAL, "too many open files"))
    assert ejected(world) == []
    assert world.next_probe() is None

"""Requests for LoRA adapters go where the adapter is, and hold nobody up while it is nowhere."""

from llama_serving.gateway.routing.adapter_demand import AdapterUse
from llama_serving.gateway.routing.router import ABSENT_PAUSE, QueueFull
from tests.unit.gateway.routing.worlds import ABSENT, BROKE, admit, endpoint, fail, probe, router, where


def test_a_request_goes_only_where_its_adapter_is() -> None:
    world = router(in_flight=5)
    world.update([endpoint("a", tone="t@1"), endpoint("b", style="s@1")], 0.0)
    asked = [admit(world, adapter=name) for name in ("style", "style", "tone", "style")]
    assert where(*asked) == ["b", "b", "a", "b"]


def test_those_who_wait_for_what_is_nowhere_hold_up_nobody() -> None:
    world = router("a", in_flight=1)
    running = admit(world)
    lost, base, lost_too = admit(world, adapter="style"), admit(world), admit(world, adapter="style")
    assert where(lost, base, lost_too) == ["-", "-", "-"]
    assert world.finish(running, 1.0) == [base]
    assert world.finish(base, 2.0) == []
    assert world.update([endpoint("a", style="s@1")], 3.0) == [lost]
    assert world.finish(lost, 4.0) == [lost_too]


def test_the_order_of_arrival_holds_between_adapters_too() -> None:
    world = router(in_flight=1)
    world.update([endpoint("a", tone="t@1", style="s@1")], 0.0)
    running = admit(world)
    waiting = [admit(world, adapter=name) for name in ("style", "tone", None, "style")]
    for ticket in waiting:
        assert world.finish(running, 1.0) == [ticket]
        running = ticket


def test_what_is_nowhere_gets_half_of_the_queue() -> None:
    world = router("a", in_flight=1, waiting=4)
    admit(world)
    admit(world, adapter="style")
    admit(world, adapter="tone")
    assert isinstance(world.admit(0.0, adapter="style"), QueueFull)
    assert isinstance(world.admit(0.0, adapter="other"), QueueFull)
    assert where(admit(world), admit(world)) == ["-", "-"]


def test_at_zero_groups_all_of_the_queue_is_for_everybody() -> None:
    world = router(waiting=4)
    assert where(*[admit(world, adapter="style") for _ in range(4)]) == ["-"] * 4


def test_an_engine_that_has_it_not_gets_no_blame_and_is_asked_again_later() -> None:
    world = router(in_flight=5)
    world.update([endpoint("a", style="s@1"), endpoint("b", style="s@1")], 0.0)
    ticket = admit(world, adapter="style")
    assert fail(world, ticket, ABSENT)
    assert where(ticket, admit(world, adapter="style"), admit(world)) == ["b", "b", "a"]
    assert probe(world, 0.0) == []
    assert world.next_recheck() == ABSENT_PAUSE
    assert fail(world, ticket, ABSENT, now=1.0)
    assert where(ticket) == ["-"]
    assert world.recheck(1.9) == []
    assert world.recheck(ABSENT_PAUSE) == [ticket]
    assert where(ticket) == ["a"]
    assert ticket.tries.retries == 0


def test_news_of_the_adapter_let_its_engine_be_asked_at_once() -> None:
    world = router(in_flight=5)
    world.update([endpoint("a", style="s@1")], 0.0)
    ticket = admit(world, adapter="style")
    assert fail(world, ticket, ABSENT)
    assert world.update([endpoint("a", style="s@1")], 0.5) == []
    assert world.update([endpoint("a", style="s@2")], 0.6) == [ticket]


def test_a_stream_goes_on_with_the_same_version_only() -> None:
    world = router(in_flight=5)
    world.update([endpoint("a", style="s@1")], 0.0)
    ticket = admit(world, adapter="style")
    ticket.weights, ticket.adapter_id, ticket.tries.answer_begun = "w1", "s@1", True
    assert fail(world, ticket, BROKE)
    assert world.update([endpoint("b", style="s@2"), endpoint("c", weights="w2", style="s@1")], 1.0) == []
    assert world.update([endpoint("b", style="s@2"), endpoint("d", style="s@1")], 2.0) == [ticket]
    assert where(ticket) == ["d"]


def test_a_stream_moves_only_to_its_version() -> None:
    world = router(in_flight=5)
    world.update([endpoint("a", style="s@1")], 0.0)
    ticket = admit(world, adapter="style")
    ticket.adapter_id = "s@1"
    world.update([endpoint("a", moving=True, style="s@1"), endpoint("b", style="s@2"), endpoint("c")], 1.0)
    assert not world.can_move(ticket)
    world.update([endpoint("a", moving=True, style="s@1"), endpoint("b", style="s@1")], 2.0)
    assert world.can_move(ticket)


def test_why_it_waits_says_where_the_adapter_is() -> None:
    world = router("a", "b")
    admit(world, adapter="style")
    assert world.why_waiting("style").startswith("adapter 'style' is on 0 of 2 ready groups; 2 groups known")


def test_demand_is_counted_by_adapter() -> None:
    world = router(in_flight=1)
    world.update([endpoint("a", style="s@1")], 0.0)
    running, _, lost = admit(world, 1.0, adapter="style"), admit(world, 2.0, adapter="style"), admit(world, 3.0)
    assert world.demand.uses(world.queue, world.backends.values()) == {
        "style": AdapterUse(arrived=2, last_used=2.0, waiting=1, in_flight=1, oldest_since=2.0)
    }
    world.finish(running, 7.0)
    world.finish(lost, 8.0)
    assert world.demand.uses(world.queue, world.backends.values())["style"].last_used == 7.0
    world.demand.keep_only({"other"})
    assert world.demand.uses(world.queue, world.backends.values()) == {}

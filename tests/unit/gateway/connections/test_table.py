"""Who gets a place among the connections, and what these hold: properties over random histories."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.connections.limits import (
    ACCEPTED_AT_A_TIME,
    SPARE_DESCRIPTORS,
    ConnectionLimits,
    connection_limits,
    most_by_descriptors,
)
from llama_serving.gateway.connections.table import ConnectionTable


@dataclass(eq=False)
class Fake:
    peer: str
    had_request: bool = False
    reasons: list[str] = field(default_factory=list)

    def cut(self, reason: str) -> None:
        self.reasons.append(reason)

    def why_close(self, now: float) -> str:
        return "" if now else "left"


def limits(most: int = 4, per_peer: int = 3, memory: int = 2000) -> ConnectionLimits:
    return ConnectionLimits(most, per_peer, memory, None, head_timeout=1, min_rate=1, grace=1)


def test_a_newcomer_takes_the_place_of_the_one_that_waited_longest_without_a_request() -> None:
    table = ConnectionTable(limits(per_peer=4))
    old, idle, fresh, busy = (Fake("a") for _ in range(4))
    for one in (old, idle, fresh, busy):
        assert table.admit(one)
    for one in (old, idle):
        one.had_request = True
        table.has_request(one)
        table.waits(one)
    table.has_request(busy)
    gone = []
    for _ in range(3):
        newcomer = Fake("a", had_request=True)
        assert table.admit(newcomer)
        table.has_request(newcomer)
        gone.append([list(one.reasons) for one in (old, idle, fresh, busy)])
    assert gone == [[[], [], [""], []], [[""], [], [""], []], [[""], [""], [""], []]]
    assert not table.admit(Fake("a")), "all have requests"
    assert table.closed["peer_full"] == 4


def test_one_peer_cannot_take_every_place_and_loses_its_own_first() -> None:
    table = ConnectionTable(limits(most=4, per_peer=3))
    flood = [Fake("flood") for _ in range(10)]
    assert all(table.admit(one) for one in flood)
    assert table.count == 3
    others = [Fake(f"other {number}") for number in range(3)]
    assert all(table.admit(one) for one in others)
    assert [one.reasons for one in others] == [[], [], []]
    assert table.count == 4


def test_memory_is_counted() -> None:
    table = ConnectionTable(limits(memory=200))
    assert table.reserve(60)
    assert not table.reserve(60)
    table.release(60)
    assert table.reserve(100)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["admit", "request", "wait", "leave"]), st.integers(0, 9))
    ),
)
def test_it_never_has_more_than_its_limits_and_forgets_all(
    most: int, per_peer: int, story: list[tuple[str, str, int]]
) -> None:
    table = ConnectionTable(limits(most, min(per_peer, most)))
    inside: list[Fake] = []
    for peer, event, which in story:
        if event == "admit":
            newcomer = Fake(peer)
            before = len(inside)
            waiting_own = any(not one.had_request for one in inside if one.peer == peer)
            if table.admit(newcomer):
                inside.append(newcomer)
            else:
                assert before == most or not waiting_own
        elif inside:
            one = inside[which % len(inside)]
            if event == "request":
                one.had_request = True
                table.has_request(one)
            elif event == "wait":
                table.waits(one)
            else:
                table.remove(one)
                inside.remove(one)
        inside = [one for one in inside if not one.reasons]
        assert table.count == len(inside) == len(list(table))
        assert table.count <= most
        assert all(sum(one.peer == peer for one in inside) <= min(per_peer, most) for peer in "abc")
    for one in inside:
        table.remove(one)
        table.remove(one)
    assert (table.count, list(table)) == (0, [])


@pytest.mark.parametrize(
    ("memory", "descriptors", "more", "most", "per_peer"),
    [
        (256 << 20, 1 << 20, {}, 1536, 1152),
        (64 << 20, 1 << 20, {}, 32, 24),
        (None, 1024, {}, 444, 333),
        (None, 64, {}, 16, 12),
        (256 << 20, 1 << 20, {"max_connections": 10, "max_connections_per_peer": 20}, 10, 10),
        (256 << 20, 1 << 20, {"max_connections": 10_000}, 1536, 1152),
    ],
)
def test_the_limits_follow_from_memory_and_descriptors(
    *, memory: int | None, descriptors: int, more: dict[str, int], most: int, per_peer: int
) -> None:
    config = GatewayConfig.model_validate({"deployment": "d", "namespace": "n", **more})
    found = connection_limits(config, memory=memory, descriptors=descriptors)
    assert (found.most, found.most_per_peer) == (most, per_peer)


@given(st.integers(8, 1 << 20))
def test_descriptors_are_enough_for_all_and_some_are_spare(descriptors: int) -> None:
    most = most_by_descriptors(descriptors)
    assert most >= 1
    assert 2 * most <= descriptors - min(SPARE_DESCRIPTORS + ACCEPTED_AT_A_TIME, descriptors // 2) + 1

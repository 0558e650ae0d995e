"""In which order groups of another shape take the places of those that are there, compared with all orders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.rollout import order
from llama_operator.plan.rollout.order import OldGroup, ShapeChange, Step, StepOrder, find_order
from llama_operator.ports import Capacity, NodeCapacity, PodRequest

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Town:
    """Nodes of so many devices; groups by the devices that they have on each node, such as ``{"a": (2,)}``."""

    devices: dict[str, int]
    groups: tuple[Mapping[str, tuple[int, ...]], ...]

    def old(self, *, down: frozenset[int] = frozenset()) -> tuple[OldGroup, ...]:
        return tuple(
            OldGroup(ordinal, tuple(pods(ordinal, where)), ordinal not in down)
            for ordinal, where in enumerate(self.groups)
        )

    def capacity(self, left: frozenset[int] = frozenset(), more: tuple[PodRequest, ...] = ()) -> Capacity:
        there = [pod for group in self.old() if group.ordinal not in left for pod in group.pods] + list(more)
        return Capacity(tuple(node(name, size, there) for name, size in self.devices.items()))


def pods(ordinal: int, where: Mapping[str, tuple[int, ...]]) -> Iterator[PodRequest]:
    places = [(name, devices) for name, each in where.items() for devices in each]
    for number, (name, devices) in enumerate(places):
        yield PodRequest("team", f"old-{ordinal}-{number}", f"uid-{ordinal}-{number}", {GPU: devices}, node=name)


def node(name: str, size: int, there: list[PodRequest]) -> NodeCapacity:
    mine = tuple(pod for pod in there if pod.node == name)
    used = {GPU: sum(pod.requests[GPU] for pod in mine)}
    return NodeCapacity(name, {}, True, True, {GPU: float(size)}, used, pods=mine)


def asks(devices: int, stages: int = 1, *, spread: bool = False) -> tuple[PodRequest, ...]:
    return (PodRequest("", "", "", {GPU: devices}, gated=True, ours=True, one_per_node=spread),) * stages


def change(town: Town, request: tuple[PodRequest, ...], wanted: int, **fields: int) -> ShapeChange:
    known = {"replicas": wanted, "max_unavailable": 1, "max_surge": 1} | fields
    return ShapeChange(town.old(), request, wanted, **known)


def steps(text: str) -> tuple[Step, ...]:
    """``"-0 + +"``: group 0 leaves, two groups are added."""
    return tuple(Step("add") if one == "+" else Step("remove", int(one[1:])) for one in text.split())


@pytest.mark.parametrize(
    ("town", "request_", "wanted", "fields", "text", "unavailable", "allowed"),
    [
        # The group has the whole node: both new ones wait for it.
        (Town({"a": 3}, ({"a": (3,)},)), asks(1), 2, {}, "-0 + +", 2, False),
        (Town({"a": 3}, ({"a": (3,)},)), asks(1), 2, {"max_unavailable": 2}, "-0 + +", 2, True),
        # One device is free: a new group comes first, and the old one goes last.
        (Town({"a": 4}, ({"a": (3,)},)), asks(1), 2, {}, "+ -0 +", 1, True),
        (Town({"a": 3}, ({"a": (1,)},) * 3), asks(3), 1, {}, "-0 -1 -2 +", 1, True),
        # Whole nodes are wanted and each is shared by two groups: node by node, not by ordinal.
        (Town({"a": 4, "b": 4}, ({"a": (2,)}, {"b": (2,)}, {"a": (2,)}, {"b": (2,)})), asks(4), 2,
         {"replicas": 4, "max_unavailable": 3}, "-0 -2 + -1 -3 +", 3, True),
        # Only group 2 leaves room for a new one by itself.
        (Town({"a": 4, "b": 2}, ({"a": (2,)}, {"a": (2,)}, {"b": (2,)})), asks(2), 3, {}, "-0 + -1 + -2 +", 1, True),
        (Town({"a": 3, "b": 4}, ({"a": (1,)}, {"a": (1,)}, {"b": (3,)})), asks(3), 2, {"replicas": 3}, "-2 + -0 -1 +",
         2, False),
        # A group that does not serve leaves first and costs nothing; so does nothing that stays.
        (Town({}, ()), asks(1), 0, {}, "", 0, True),
        # Stages of one group on two nodes.
        (Town({"a": 2, "b": 2}, ({"a": (2,), "b": (2,)},)), asks(1, 2), 2, {"max_unavailable": 2}, "-0 + +", 2, True),
        # Nodes that hold one of two wanted groups: as far as it goes.
        (Town({"a": 3}, ({"a": (2,)},)), asks(2), 2, {}, "-0 +", 2, False),
        # Nothing may be missing: as many as maxSurge allows beside the old ones.
        (Town({"a": 4}, ({"a": (1,)}, {"a": (1,)})), asks(2), 2, {"max_unavailable": 0}, "+ -0 -1 +", 1, False),
        (Town({"a": 6}, ({"a": (1,)}, {"a": (1,)})), asks(2), 2, {"max_unavailable": 0, "max_surge": 2}, "+ + -0 -1",
         0, True),
    ],
)  # fmt: skip
def test_the_order(
    *, town: Town, request_: tuple[PodRequest, ...], wanted: int, fields: dict[str, int], text: str, unavailable: int,
    allowed: bool,
) -> None:  # fmt: skip
    found = find_order(town.capacity(), change(town, request_, wanted, **fields))
    assert found == StepOrder(steps(text), unavailable, allowed, placed=text.count("+"))


def test_groups_that_do_not_serve_leave_first() -> None:
    town = Town({"a": 3}, ({"a": (1,)}, {"a": (1,)}, {"a": (1,)}))
    asked = replace(change(town, asks(1), 3), old=town.old(down=frozenset({2})), max_surge=0)
    found = find_order(town.capacity(), asked)
    assert (found.steps, found.unavailable) == (steps("-2 + -0 + -1 +"), 1)
    assert found.removals == (2, 0, 1)


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = {f"node-{number}": 8 for number in range(20)}
    where = [(f"node-{number}", f"node-{(number * 7 + 3) % 20}") for number in range(20)]
    town = Town(devices, tuple({one: (4,), other: (4,)} for one, other in where))
    found = find_order(town.capacity(), change(town, asks(8, 2), 10, replicas=20))
    assert (found.placed, found.allowed, found.exact, len(found.removals)) == (10, False, False, 20)
    monkeypatch.setattr(order, "MOST_TRIED", 0)
    assert find_order(town.capacity(), change(town, asks(8, 2), 10, replicas=20)).placed == 10


# -- every order that there is ----------------------------------------------------------------------------------------


@st.composite
def towns(draw: st.DrawFn) -> Town:
    devices = {name: draw(st.integers(1, 4)) for name in "abc"[: draw(st.integers(1, 3))]}
    left, groups = dict(devices), []
    for _ in range(draw(st.integers(0, 4))):
        free = [name for name in left if left[name]]
        places = draw(st.lists(st.sampled_from(free), min_size=1, max_size=2)) if free else []
        group: dict[str, tuple[int, ...]] = {}
        for name in places:
            if left[name]:
                size = draw(st.integers(1, left[name]))
                group[name] = (*group.get(name, ()), size)
                left[name] -= size
        if group:
            groups.append(group)
    return Town(devices, tuple(groups))


@st.composite
def changes(draw: st.DrawFn, *, spread: bool) -> tuple[Town, ShapeChange]:
    town = draw(towns())
    request = asks(draw(st.integers(1, 3)), draw(st.integers(1, 2)), spread=spread)
    wanted = draw(st.integers(0, 3))
    down = frozenset(draw(st.lists(st.integers(0, 4), max_size=1)))
    asked = ShapeChange(
        town.old(down=down), request, wanted,
        replicas=draw(st.integers(wanted, wanted + 2)),
        max_unavailable=draw(st.integers(0, 3)),
        max_surge=draw(st.integers(0, 2)),
    )  # fmt: skip
    return town, asked


Moment = tuple[frozenset[int], tuple[str, ...]]  # ordinals that are gone, nodes of the new pods


def places(town: Town, asked: ShapeChange, moment: Moment) -> Iterator[tuple[str, ...]]:
    """Every choice of nodes for the pods of one more group."""
    pod, (gone, on) = asked.request[0], moment
    free = {
        name: size
        - sum(each for ordinal, group in enumerate(town.groups) if ordinal not in gone for each in group.get(name, ()))
        - on.count(name) * pod.requests[GPU]
        for name, size in town.devices.items()
    }
    ways = combinations(free, len(asked.request)) if pod.one_per_node else product(free, repeat=len(asked.request))
    for way in {tuple(sorted(way)) for way in ways}:
        if all(way.count(name) * pod.requests[GPU] <= free[name] for name in way):
            yield way


def best_order(town: Town, asked: ShapeChange) -> tuple[int, int]:
    """Try all sequences of removals and additions: the most groups that are placed, and then the fewest unavailable.

    Groups that do not serve may be removed at no cost, whenever.
    """
    served = {group.ordinal for group in asked.old if group.available}
    size, every = len(asked.request), frozenset(group.ordinal for group in asked.old)
    costs: dict[Moment, int] = {(frozenset(), ()): 0}
    queue: list[Moment] = [(frozenset(), ())]
    while queue:
        gone, on = queue.pop()
        cost, added = costs[gone, on], len(on) // size
        following: list[tuple[Moment, int]] = []
        for ordinal in every - gone:
            serving = len(served - gone - {ordinal}) + added + asked.staying
            missing = asked.replicas - serving if ordinal in served else 0
            following.append(((gone | {ordinal}, on), max(cost, missing)))
        if added < asked.wanted and len(every - gone) + added + asked.staying < asked.replicas + asked.max_surge:
            following += [((gone, tuple(sorted(on + way))), cost) for way in places(town, asked, (gone, on))]
        for moment, price in following:
            if price < costs.get(moment, 99):
                costs[moment] = price
                queue.append(moment)
    placed = max(len(on) // size for gone, on in costs if gone == every)
    return placed, min(cost for (gone, on), cost in costs.items() if gone == every and len(on) // size == placed)


@settings(deadline=None, max_examples=300)
@given(changes(spread=False))
def test_no_order_of_any_kind_is_better(asked: tuple[Town, ShapeChange]) -> None:
    town, wish = asked
    found = find_order(town.capacity(), wish)
    placed, unavailable = best_order(town, wish)
    assert found.exact
    assert found.placed == placed
    assert found.allowed is (unavailable <= wish.max_unavailable)
    assert unavailable <= found.unavailable <= max(unavailable, wish.max_unavailable)


@settings(deadline=None, max_examples=200)
@given(st.booleans().flatmap(lambda spread: changes(spread=spread)))
def test_the_rule_that_admits_admits_every_group_of_the_order(asked: tuple[Town, ShapeChange]) -> None:
    """With one pod a node only where each node takes one: there the rule and the order may choose different nodes."""
    town, wish = asked
    pod = wish.request[0]
    assume(not pod.one_per_node or all(size < 2 * pod.requests[GPU] for size in town.devices.values()))
    found = find_order(town.capacity(), wish)
    gone: frozenset[int] = frozenset()
    there: tuple[PodRequest, ...] = ()
    for step in found.steps:
        if step.ordinal is not None:
            gone |= {step.ordinal}
            continue
        capacity = town.capacity(gone, there)
        assert admit(capacity, [WaitingGroup("a new group", wish.request)]).admitted
        way = next(iter(places(town, wish, (gone, tuple(one.node for one in there)))))
        there += tuple(
            replace(one, node=name, uid=f"new-{len(there)}") for one, name in zip(wish.request, way, strict=True)
        )
    assert gone == {group.ordinal for group in wish.old}
    capacity = town.capacity(gone, there)
    full = not admit(capacity, [WaitingGroup("one more", wish.request)]).admitted
    assert found.placed == wish.wanted or full or len(there) // len(wish.request) >= wish.replicas + wish.max_surge


@settings(deadline=None, max_examples=200)
@given(changes(spread=True))
def test_with_one_pod_a_node_the_order_is_one_that_can_be_gone(asked: tuple[Town, ShapeChange]) -> None:
    town, wish = asked
    found = find_order(town.capacity(), wish)
    placed, unavailable = best_order(town, wish)
    assert found.placed <= placed
    assert found.placed < placed or found.unavailable >= unavailable

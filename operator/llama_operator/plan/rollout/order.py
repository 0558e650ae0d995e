"""In which order old groups leave and new ones come, where new ones need the room that old ones have.

A new group comes as soon as it finds room: that takes nothing from the others. So an order is a sequence of removals:

    added       = min(wanted, groups that the nodes take, replicas + maxSurge - staying - old groups that are left)
    unavailable = replicas - (staying + added + old groups that are left and serve), after each removal

First the order that goes straight on: each time the group leaves that lets a new one in, else the one that shares its
nodes with the fewest. Where maxUnavailable does not allow it, the sets of groups that have left are searched, those
first on the way to which the fewest groups were unavailable at a time: the first order found is one with the smallest
``maxUnavailable`` that allows any. Of groups whose leaving makes the same difference one is tried. After MOST_TRIED
removals the best order so far is the result, and another one may do with less (``exact`` is False).
"""

from collections import Counter
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from llama_operator.plan.placement.room import GroupRoom, Places
from llama_operator.ports import Capacity, PodRequest

MOST_TRIED = 5000  # removals; for 10 groups that all differ there are 5120 in all


@dataclass(frozen=True)
class OldGroup:
    """A group that is there and leaves."""

    ordinal: int
    pods: tuple[PodRequest, ...]  # with their nodes
    available: bool = True  # counts among those that serve; others leave first, whatever maxUnavailable is


@dataclass(frozen=True)
class ShapeChange:
    """What is there, what is wanted, and how many groups may be missing, or be too many, on the way."""

    old: tuple[OldGroup, ...]
    request: tuple[PodRequest, ...]  # the pods of one new group, which are alike
    wanted: int  # new groups that have no place yet
    replicas: int
    max_unavailable: int
    max_surge: int
    staying: int = 0  # groups that have their place and keep it: new ones, and those that do not change


@dataclass(frozen=True)
class Step:
    """An old group leaves, or a new one finds room and comes to serve."""

    kind: Literal["remove", "add"]
    ordinal: int | None = None  # of the group that leaves


@dataclass(frozen=True)
class StepOrder:
    """An order in which all old groups leave and as many new ones come as the nodes take in the end."""

    steps: tuple[Step, ...]
    unavailable: int  # groups below ``replicas`` at the worst moment: the maxUnavailable that allows this order
    allowed: bool  # by the maxUnavailable that was asked for; where it is not, no smaller one allows any
    placed: int  # new groups that find room, of those that are wanted
    exact: bool = True  # False: too much to search; another order may do with less

    @property
    def removals(self) -> tuple[int, ...]:
        """Ordinals of the groups that leave, in their order."""
        return tuple(step.ordinal for step in self.steps if step.ordinal is not None)


def find_order(capacity: Capacity, change: ShapeChange) -> StepOrder:
    """Find the order with the fewest groups unavailable at a time."""
    return _Search(capacity, change).run()


@dataclass(frozen=True)
class _Reached:
    """How far an order came."""

    places: Places  # for new groups
    left: frozenset[int] = frozenset()  # indices of the old groups that are gone
    placed: int = 0
    steps: tuple[Step, ...] = ()
    last: int = -1  # index of the group that left last
    unavailable: int = 0


class _Search:
    def __init__(self, capacity: Capacity, change: ShapeChange) -> None:
        self._change = change
        self._old = tuple(sorted(change.old, key=lambda group: (group.available, group.ordinal)))
        self._room = GroupRoom(capacity, change.request, tuple(group.pods for group in self._old))
        self._kinds = tuple(self._room.kind(index) for index in range(len(self._old)))

    def run(self) -> StepOrder:
        """Go straight on; where that is not allowed, look for an order with fewer groups unavailable."""
        change, found, exact = self._change, self._straight_on(self._start()), True
        most = self._room.most(self._room.places(range(len(self._old))), change.wanted)
        if found.unavailable > change.max_unavailable or found.placed < most:
            found, exact = self._explore(found, most)
        return StepOrder(
            found.steps, found.unavailable, found.unavailable <= change.max_unavailable, found.placed, exact
        )

    def _explore(self, best: _Reached, most: int) -> tuple[_Reached, bool]:
        """Return an order that is better than ``best``, or it; and whether there is no better one for certain."""
        turn, seen, tried = count(), set[object](), 0
        queue = [(0, 0, 0, next(turn), self._start())]
        while queue:
            reached = heappop(queue)[-1]
            if best.placed == most and reached.unavailable >= best.unavailable:
                return best, True
            if len(reached.left) == len(self._old):
                best = min(best, reached, key=lambda one: (-one.placed, one.unavailable))
            elif tried >= MOST_TRIED:
                return min(best, self._straight_on(reached), key=lambda one: (-one.placed, one.unavailable)), False
            elif (key := self._key(reached)) not in seen:
                seen.add(key)
                following = self._following(reached)
                tried += len(following)
                for one in following:
                    heappush(queue, (one.unavailable, -len(one.left), -one.placed, next(turn), one))
        return best, True

    def _straight_on(self, reached: _Reached) -> _Reached:
        """Remove what lets a new group in, else what shares its nodes with the fewest groups; lower ordinals first."""

        def cost(one: _Reached) -> tuple[int, int, int, int]:
            beside = self._room.beside(one.last, one.left) if one.placed == reached.placed else 0
            return one.unavailable, -one.placed, beside, one.last

        while len(reached.left) < len(self._old):
            reached = min(self._following(reached), key=cost)
        return reached

    def _start(self) -> _Reached:
        """Remove the groups that do not serve: nobody misses them."""
        gone = [index for index, group in enumerate(self._old) if not group.available]
        steps = tuple(Step("remove", self._old[index].ordinal) for index in gone)
        return self._filled(_Reached(self._room.places(gone), frozenset(gone), steps=steps))

    def _following(self, reached: _Reached) -> list[_Reached]:
        """Remove one more group, in each way that makes a difference, and add those that find room then."""
        kinds: dict[object, int] = {}
        for index, kind in enumerate(self._kinds):
            if index not in reached.left:
                kinds.setdefault(kind, index)
        return [self._without(index, reached) for index in kinds.values()]

    def _without(self, index: int, reached: _Reached) -> _Reached:
        serving = len(self._old) - len(reached.left) - 1 + self._change.staying + reached.placed
        removed = _Reached(
            self._room.after(reached.places, index, reached.left),
            reached.left | {index},
            reached.placed,
            (*reached.steps, Step("remove", self._old[index].ordinal)),
            last=index,
            unavailable=max(reached.unavailable, self._change.replicas - serving),
        )
        return self._filled(removed)

    def _filled(self, reached: _Reached) -> _Reached:
        change, there = self._change, len(self._old) - len(reached.left)
        most = min(change.wanted, change.replicas + change.max_surge - change.staying - there)
        placed, places = self._room.place(reached.places, most=most, placed=reached.placed)
        if placed == reached.placed:
            return reached
        steps = reached.steps + (Step("add"),) * (placed - reached.placed)
        return replace(reached, placed=placed, places=places, steps=steps)

    def _key(self, reached: _Reached) -> object:
        kinds = frozenset(Counter(self._kinds[index] for index in reached.left).items())
        return (kinds, frozenset(reached.places.items())) if self._room.spread else kinds

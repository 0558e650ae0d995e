"""Which adapters each group holds, when not all of them fit: k of n, by use.

Nothing moves without a reason. What a group holds it keeps, until the room is needed for an adapter that somebody waits
for. In this order, for each adapter with waiting requests that no group holds, the longest wait first:

    room is free         it is loaded there
    the victim           of all groups: one on its way out already, else the one that was not used for longest
    who may be a victim  at once: unused for ``MIN_IDLE`` seconds
                         after ``PATIENCE`` seconds of waiting: one without requests here and without waiting ones
                         after ``STARVED`` seconds: any; the one with the fewest requests

A group that does not serve keeps what it has, and is not counted: what only it holds is loaded elsewhere on request.

So an adapter has a minimum stay, alternating requests do not make two adapters take turns on one place, and everybody
who waits is answered in the end. An adapter that is held anywhere, even if it still loads, causes no other load: one
load per needed adapter. A group has at most ``MOST_CHANGES`` adapters on their way in. An adapter whose groups are all
busy for ``POPULAR`` seconds gets one more copy, where an unused one can go. Room that is left is filled with adapters
that no group has, the last used first.

Everything is derived from what is seen: the holdings from the groups, the use from the gateways.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

MIN_IDLE: Final = 60.0  # seconds
PATIENCE: Final = 10.0
STARVED: Final = 30.0
POPULAR: Final = 5.0
MOST_CHANGES: Final = 2


@dataclass(frozen=True)
class AdapterSeat:
    """A group with room for ``room`` adapters.

    ``held``: those that it was told to have. ``coming``: of those, the ones that still load. ``leaving``: those that
    its gateways do not use any more. ``in_flight``: requests that run here, by adapter. ``serves``: it gets requests;
    what others hold does not answer those that wait, unless no group serves at all.
    """

    group: str
    room: int
    held: frozenset[str] = frozenset()
    coming: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    in_flight: Mapping[str, int] = field(default_factory=dict)
    serves: bool = True


@dataclass(frozen=True)
class AdapterTraffic:
    """Requests for one adapter, over all gateways; times in seconds. ``idle``: since the last one, inf: never any."""

    waiting: int = 0
    oldest_wait: float = 0.0
    idle: float = inf


#: Of an adapter that nobody has asked for.
UNUSED: Final = AdapterTraffic()


def place(
    names: Sequence[str], seats: Sequence[AdapterSeat], traffic: Mapping[str, AdapterTraffic]
) -> dict[str, tuple[str, ...]]:
    """Return by group which of the adapters ``names`` it shall hold, in the order of ``names``."""
    run = _Placement(names, seats, traffic)
    for seat in seats:
        run.trim(seat)
    for name in run.needed():
        run.bring(name)
    for name in run.popular():
        run.copy(name)
    for seat in seats:
        run.fill(seat)
    return {seat.group: tuple(name for name in names if name in run.kept[seat.group]) for seat in seats}


class _Placement:
    """One decision; ``kept`` is what each group shall hold."""

    def __init__(
        self, names: Sequence[str], seats: Sequence[AdapterSeat], traffic: Mapping[str, AdapterTraffic]
    ) -> None:
        self._names = names
        self._traffic = traffic
        known = frozenset(names)
        self.kept = {seat.group: set(seat.held & known) for seat in seats}
        self._serving = [seat for seat in seats if seat.serves] or seats
        self._changes = {seat.group: len(seat.coming & known) for seat in seats}
        self._new: set[tuple[str, str]] = set()  # group and adapter of what this decision brings

    def trim(self, seat: AdapterSeat) -> None:
        """Let go of what has no room, least recently used first."""
        kept = self.kept[seat.group]
        while len(kept) > seat.room:
            kept.discard(max(sorted(kept), key=lambda name: self._spare(name, seat)))

    def needed(self) -> list[str]:
        """Return the adapters that somebody waits for and no group holds, the longest wait first."""
        found = [name for name in self._names if self._use(name).waiting and not self._copies(name)]
        return sorted(found, key=lambda name: -self._use(name).oldest_wait)

    def popular(self) -> list[str]:
        """Return the adapters whose requests wait although their groups have them."""
        return [name for name in self._names if self._copies(name) and self._is_popular(name)]

    def bring(self, name: str) -> None:
        """Load an adapter on one group, in the place of another one where it must be."""
        if self._into_free_room(name):
            return
        options = [
            (level, self._spare(victim, seat), victim, seat)
            for seat in self._open_seats(name)
            for victim in sorted(self.kept[seat.group])
            if (level := self._level(victim, seat, self._use(name).oldest_wait)) is not None
        ]
        if options:
            lowest = min(level for level, *_ in options)
            _, _, victim, seat = max(
                (option for option in options if option[0] == lowest), key=lambda option: option[1]
            )
            self.kept[seat.group].discard(victim)
            self._add(seat, name)

    def copy(self, name: str) -> None:
        """Load an adapter on one more group, where there is room or an unused one can go."""
        if self._into_free_room(name):
            return
        options = [
            (self._spare(victim, seat), victim, seat)
            for seat in self._open_seats(name)
            for victim in sorted(self.kept[seat.group])
            if self._level(victim, seat, 0.0) == 0
        ]
        if options:
            _, victim, seat = max(options, key=lambda option: option[0])
            self.kept[seat.group].discard(victim)
            self._add(seat, name)

    def fill(self, seat: AdapterSeat) -> None:
        """Use the room that is left: everything where all fits, else what no group has."""
        kept = self.kept[seat.group]
        if len(self._names) <= seat.room:
            kept.update(self._names)
            return
        for name in sorted((one for one in self._names if one not in kept), key=lambda one: self._use(one).idle):
            if len(kept) >= seat.room or self._changes[seat.group] >= MOST_CHANGES:
                return
            if not any(name in held for held in self.kept.values()):
                self._add(seat, name)

    def _into_free_room(self, name: str) -> bool:
        free = [seat for seat in self._open_seats(name) if len(self.kept[seat.group]) < seat.room]
        if free:
            self._add(max(free, key=lambda seat: seat.room - len(self.kept[seat.group])), name)
        return bool(free)

    def _open_seats(self, name: str) -> Iterable[AdapterSeat]:
        """Return the groups that may take this adapter now."""
        for seat in self._serving:
            if seat.room and name not in self.kept[seat.group] and self._changes[seat.group] < MOST_CHANGES:
                yield seat

    def _add(self, seat: AdapterSeat, name: str) -> None:
        self.kept[seat.group].add(name)
        if name not in seat.held:
            self._changes[seat.group] += 1
            self._new.add((seat.group, name))

    def _level(self, victim: str, seat: AdapterSeat, waited: float) -> int | None:
        """Return how reluctantly an adapter leaves for one that was waited for so long; None: it does not."""
        if (seat.group, victim) in self._new or victim in seat.coming:
            return None
        use, here = self._use(victim), seat.in_flight.get(victim, 0)
        unasked = not use.waiting and not here
        if unasked and (victim in seat.leaving or use.idle >= MIN_IDLE):
            return 0
        if unasked and waited >= PATIENCE:
            return 1
        return 2 if waited >= STARVED and use.oldest_wait < waited else None

    def _spare(self, name: str, seat: AdapterSeat) -> tuple[float, ...]:
        """Return how well a group can do without an adapter: more is better."""
        use, here = self._use(name), seat.in_flight.get(name, 0)
        return (-(use.waiting + here), name in seat.leaving, use.idle, self._copies(name))

    def _is_popular(self, name: str) -> bool:
        use = self._use(name)
        holders = [seat for seat in self._serving if name in self.kept[seat.group]]
        loads = any(name in seat.coming or (seat.group, name) in self._new for seat in holders)
        return use.waiting > 0 and use.oldest_wait >= POPULAR and not loads

    def _copies(self, name: str) -> int:
        return sum(name in self.kept[seat.group] for seat in self._serving)

    def _use(self, name: str) -> AdapterTraffic:
        return self._traffic.get(name, UNUSED)

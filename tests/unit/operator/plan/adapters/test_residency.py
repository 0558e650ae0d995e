"""Which adapters each group holds: tables, properties over any state, and days of traffic in virtual time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.plan.adapters.residency import (
    MIN_IDLE,
    MOST_CHANGES,
    PATIENCE,
    POPULAR,
    STARVED,
    AdapterSeat,
    AdapterTraffic,
    place,
)

NAMES = tuple("abcdefgh")


def seat(held: str = "", *, room: int = 2, group: str = "g0", coming: str = "", leaving: str = "") -> AdapterSeat:
    return AdapterSeat(group, room, frozenset(held), coming=frozenset(coming), leaving=frozenset(leaving))


def waits(seconds: float) -> AdapterTraffic:
    return AdapterTraffic(waiting=1, oldest_wait=seconds, idle=0.0)


def idle(seconds: float) -> AdapterTraffic:
    return AdapterTraffic(idle=seconds)


def placed(names: str, *seats: AdapterSeat, **traffic: AdapterTraffic) -> list[str]:
    return ["".join(held) for held in place(tuple(names), seats, traffic).values()]


def test_what_fits_is_everywhere() -> None:
    assert placed("abc", seat(room=3, group="g0"), seat("c", room=4, group="g1")) == ["abc", "abc"]


def test_an_adapter_that_is_gone_leaves_at_once() -> None:
    assert placed("ab", seat("axy", room=3)) == ["ab"]


def test_room_is_filled_with_what_no_group_has_the_last_used_first() -> None:
    found = placed("abcd", seat(group="g0"), seat(group="g1"), c=idle(5), a=idle(7))
    assert found == ["ac", "bd"]


def test_without_reason_nothing_moves() -> None:
    assert placed("abcd", seat("cd"), c=idle(MIN_IDLE * 9), d=idle(inf), a=idle(1)) == ["cd"]


def test_the_least_recently_used_leaves_for_what_is_waited_for() -> None:
    assert placed("abc", seat("ab"), a=idle(MIN_IDLE * 3), b=idle(MIN_IDLE * 2), c=waits(0.1)) == ["bc"]


def test_of_all_groups_the_best_victim_leaves() -> None:
    seats = seat("ab", group="g0"), seat("cd", group="g1")
    used = {"a": idle(80), "b": idle(90), "c": idle(300), "d": idle(70)}
    assert placed("abcde", *seats, e=waits(0.1), **used) == ["ab", "de"]


def test_what_was_used_a_moment_ago_stays_until_patience_ends() -> None:
    used = {"a": idle(3), "b": idle(1)}
    assert placed("abc", seat("ab"), c=waits(PATIENCE - 1), **used) == ["ab"]
    assert placed("abc", seat("ab"), c=waits(PATIENCE), **used) == ["bc"]


def test_what_is_in_use_leaves_only_for_one_that_starves() -> None:
    busy = AdapterSeat("g0", 2, frozenset("ab"), in_flight={"a": 2, "b": 1})
    used = {"a": idle(0), "b": idle(0)}
    assert placed("abc", busy, c=waits(STARVED - 1), **used) == ["ab"]
    assert placed("abc", busy, c=waits(STARVED), **used) == ["ac"]


def test_one_that_waits_longer_is_not_put_out() -> None:
    assert placed("abc", seat("ab"), a=waits(50), b=waits(50), c=waits(40)) == ["ab"]


def test_one_that_is_held_anywhere_causes_no_other_load() -> None:
    seats = seat("ab", group="g0", coming="a"), seat("cd", group="g1")
    assert placed("abcd", *seats, a=waits(50), b=idle(inf), c=idle(inf), d=idle(inf)) == ["ab", "cd"]


def test_what_only_a_group_holds_that_does_not_serve_is_loaded_elsewhere_on_request() -> None:
    lost = replace(seat("ab", group="g0"), serves=False)
    used = {"b": idle(inf), "c": idle(80), "d": idle(90)}
    assert placed("abcd", lost, seat("cd", group="g1"), **used) == ["ab", "cd"]
    assert placed("abcd", lost, seat("cd", group="g1"), a=waits(1), **used) == ["ab", "ac"]
    assert placed("abcd", lost, a=waits(50), **used) == ["ab"], "while no group serves those that start count"


def test_at_most_so_many_are_on_their_way_to_a_group() -> None:
    full = seat("abcd", room=4)
    asked = {name: waits(1) for name in "efgh"}
    (held,) = place(NAMES, [full], asked).values()
    assert len(set(held) & set("efgh")) == MOST_CHANGES
    assert placed("abcdefgh", seat("abef", room=4, coming="ef"), g=waits(1), a=idle(inf), b=idle(inf)) == ["abef"]


def test_an_adapter_whose_groups_are_busy_gets_another_copy() -> None:
    seats = seat("ab", group="g0"), seat("cd", group="g1")
    used = {"b": idle(1), "c": idle(1), "d": idle(MIN_IDLE)}
    assert placed("abcd", *seats, a=waits(POPULAR - 1), **used) == ["ab", "cd"]
    assert placed("abcd", *seats, a=waits(POPULAR), **used) == ["ab", "ac"]


def test_one_on_its_way_out_is_taken_before_others() -> None:
    """Else a decision would be taken back while it is carried out."""
    assert placed("abc", seat("ab", leaving="b"), a=idle(900), b=idle(0), c=waits(0.1)) == ["ac"]


def test_less_room_than_before_lets_the_least_used_go() -> None:
    assert placed("abc", seat("abc", room=1), a=idle(5), b=idle(2), c=idle(9)) == ["b"]


SEATS = st.lists(
    st.builds(
        lambda room, held, loads, flying: (room, held, held & loads, dict.fromkeys(held & flying, 1)),
        st.integers(0, 4),
        st.frozensets(st.sampled_from(NAMES), max_size=5),
        st.frozensets(st.sampled_from(NAMES)),
        st.frozensets(st.sampled_from(NAMES)),
    ),
    max_size=4,
).map(lambda many: [AdapterSeat(f"g{k}", *one[:2], coming=one[2], in_flight=one[3]) for k, one in enumerate(many)])
TRAFFIC = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(AdapterTraffic, st.integers(0, 3), st.sampled_from([0.0, 6.0, 11.0, 40.0]), st.sampled_from([0.0, 70.0])),
)


@given(st.integers(0, len(NAMES)), SEATS, TRAFFIC)
def test_whatever_is_seen_the_rules_hold(
    count: int, seats: list[AdapterSeat], traffic: dict[str, AdapterTraffic]
) -> None:
    names = NAMES[:count]
    found = place(names, seats, traffic)
    copies = Counter(name for one in seats if len(one.held) <= one.room for name in one.held)
    loads = Counter(name for one in seats for name in set(found[one.group]) - one.held)
    for one in seats:
        held = found[one.group]
        assert set(held) <= set(names)
        assert len(held) <= one.room
        if len(names) <= one.room:
            assert held == names
            continue
        assert len(set(held) - one.held) <= max(MOST_CHANGES - len(one.coming & set(names)), 0)
        if len(one.held) <= one.room:
            for gone in (one.held & set(names)) - set(held):
                leaves_for = [traffic[name].oldest_wait for name in set(held) - one.held if name in traffic]
                use = traffic.get(gone, AdapterTraffic())
                assert gone not in one.coming, "put out before it was there"
                assert leaves_for, "left for nobody"
                if use.waiting or one.in_flight.get(gone):
                    assert max(leaves_for) >= STARVED, "in use, and put out early"
    some_fit_all = any(len(names) <= one.room for one in seats)
    for name, count_of in loads.items():
        assert count_of == 1 or some_fit_all, "one request, several loads"
        assert copies[name] == 0 or some_fit_all or traffic[name].oldest_wait >= POPULAR


@given(st.integers(0, len(NAMES)), SEATS, TRAFFIC)
def test_a_decision_that_was_carried_out_is_kept(
    count: int, seats: list[AdapterSeat], traffic: dict[str, AdapterTraffic]
) -> None:
    """With nobody waiting any more the same state again changes nothing but what is still on its way."""
    names = NAMES[:count]
    quiet = {name: AdapterTraffic(idle=one.idle) for name, one in traffic.items()}
    after = seats
    for _ in range(len(NAMES)):
        found = place(names, after, quiet)
        after = [AdapterSeat(one.group, one.room, frozenset(found[one.group])) for one in after]
    assert place(names, after, quiet) == {one.group: tuple(n for n in names if n in one.held) for one in after}


class Groups:
    """Groups of a simulated deployment: an adapter that is told takes ``LOAD`` seconds, a request one second."""

    LOAD = 3

    def __init__(self, groups: int, room: int) -> None:
        self.room = room
        self.held: list[dict[str, int]] = [{} for _ in range(groups)]  # seconds until it is there
        self.loads = 0

    def seats(self) -> list[AdapterSeat]:
        return [
            AdapterSeat(f"g{k}", self.room, frozenset(held), coming=frozenset(n for n, left in held.items() if left))
            for k, held in enumerate(self.held)
        ]

    def tell(self, found: Mapping[str, tuple[str, ...]]) -> None:
        for held, wanted in zip(self.held, found.values(), strict=True):
            for name in set(held) - set(wanted):
                del held[name]
            for name in set(wanted) - set(held):
                held[name] = self.LOAD
                self.loads += 1

    def tick(self) -> set[str]:
        """A second; return what can be answered."""
        for held in self.held:
            for name in held:
                held[name] = max(held[name] - 1, 0)
        return {name for held in self.held for name, left in held.items() if not left}


def simulate(arrivals: list[str], groups: Groups, names: tuple[str, ...]) -> list[float]:
    """A request a second; return how long each waited. After the last one, time goes on until all are answered."""
    waiting: dict[str, list[int]] = {}
    last: dict[str, int] = {}
    waits_of: list[float] = []
    second = 0
    while second < len(arrivals) or waiting:
        if second < len(arrivals):
            waiting.setdefault(arrivals[second], []).append(second)
            last[arrivals[second]] = second
        for name in groups.tick() & waiting.keys():
            waits_of += [second - since for since in waiting.pop(name)]
            last[name] = second
        traffic = {
            name: AdapterTraffic(
                waiting=len(waiting.get(name, ())),
                oldest_wait=second - min(waiting.get(name, [second])),
                idle=0.0 if name in waiting else second - at,
            )
            for name, at in last.items()
        }
        groups.tell(place(names, groups.seats(), traffic))
        second += 1
        assert second < len(arrivals) + 3600, f"never answered: {sorted(waiting)}"
    return waits_of


def zipf(names: tuple[str, ...], count: int) -> list[str]:
    """Requests by Zipf's law (the k-th name comes 1/k as often), drawn by a simple generator."""
    weights = [1 / (rank + 1) for rank in range(len(names))]
    total, seed, found = sum(weights), 12345, []
    for _ in range(count):
        seed = (1103515245 * seed + 12345) % 2**31
        left = seed / 2**31 * total
        rank = 0
        while rank + 1 < len(names) and left > weights[rank]:
            left -= weights[rank]
            rank += 1
        found.append(names[rank])
    return found


def lru_misses(requests: list[str], places: int) -> int:
    """Count the loads of one cache that drops the least recently used at once, as well as it can be known."""
    held: dict[str, None] = {}
    misses = 0
    for name in requests:
        misses += name not in held
        held.pop(name, None)
        held[name] = None
        if len(held) > places:
            del held[next(iter(held))]
    return misses


def test_an_hour_of_zipf_over_100_adapters_and_4_groups_of_8() -> None:
    names = tuple(f"a{k}" for k in range(100))
    groups, requests = Groups(4, 8), zipf(names, 3600)
    waits_of = simulate(requests, groups, names)
    assert len(waits_of) == 3600, "every request was answered"
    assert max(waits_of) <= STARVED + Groups.LOAD + 8 * MOST_CHANGES
    at_once = sum(wait == 0 for wait in waits_of) / len(waits_of)
    assert at_once > 0.6, at_once
    assert groups.loads <= 1.05 * lru_misses(requests, 4 * 8), groups.loads


def test_requests_that_alternate_between_more_than_fit_do_not_thrash() -> None:
    names = ("a", "b", "c")
    groups = Groups(1, 2)
    waits_of = simulate([names[k % 3] for k in range(600)], groups, names)
    assert len(waits_of) == 600
    assert groups.loads <= 600 / PATIENCE + 3, groups.loads


def test_two_that_alternate_and_fit_are_loaded_once() -> None:
    groups = Groups(1, 2)
    waits_of = simulate([("a", "b")[k % 2] for k in range(600)], groups, ("a", "b", "c", "d"))
    assert groups.loads == 2
    assert sum(waits_of) <= 4 * Groups.LOAD

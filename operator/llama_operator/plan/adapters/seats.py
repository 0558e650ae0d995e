"""What placement looks at, from what was seen: the groups' room and holdings, the gateways' requests."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf

from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.adapters.residency import AdapterSeat, AdapterTraffic, place
from llama_operator.plan.groups.group import Group
from llama_serving.config.gateway import AdapterLoad
from llama_serving.config.state import AdapterOutcome

_ENDED = (AdapterOutcome.READY, AdapterOutcome.REFUSED)


def held_adapters(
    wanted: Sequence[str], rooms: Mapping[str, int], *, groups: Iterable[Group], snapshot: Snapshot, now: datetime
) -> dict[str, tuple[str, ...]]:
    """Return by the group's name which of the adapters ``wanted`` it shall hold.

    ``rooms``: for how many each engine was started, by the group's name; a group without room is not in the result.
    """
    seated = [group for group in groups if group.id.name in rooms]
    if not wanted:
        return {group.id.name: () for group in seated}
    seats = [
        replace(_seat(group, rooms[group.id.name], snapshot), serves=group.may_serve(now))  # a blip moves nothing
        for group in seated
    ]
    return place(wanted, seats, traffic_of(snapshot))


def announced(text: str) -> dict[str, str]:
    """Read an annotation of ours: ids by name; none where it is empty or of another form."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def traffic_of(snapshot: Snapshot) -> dict[str, AdapterTraffic]:
    """Add up what the gateways count, by adapter."""
    heard: defaultdict[str, list[AdapterLoad]] = defaultdict(list)
    for load in snapshot.loads.values():
        for name, use in (load.adapters if load else {}).items():
            heard[name].append(use)
    return {
        name: AdapterTraffic(
            waiting=sum(use.waiting for use in uses),
            oldest_wait=max(use.oldest_wait for use in uses),
            idle=min((use.idle for use in uses), default=inf),
        )
        for name, uses in heard.items()
    }


def in_flight_on(leader: str, snapshot: Snapshot) -> Mapping[str, int]:
    """Add up, by adapter, the requests that the gateways have on this leader."""
    counts: Counter[str] = Counter()
    for load in snapshot.loads.values():
        for group in load.groups if load else ():
            if group.name == leader:
                counts.update(group.adapters)
    return counts


def _seat(group: Group, room: int, snapshot: Snapshot) -> AdapterSeat:
    cell, leader = group.state, group.leader
    told = {one.name: one for one in cell.adapters} if cell else {}
    used = announced(leader.adapters) if leader else {}
    return AdapterSeat(
        group=group.id.name,
        room=room,
        held=frozenset(told) | frozenset(used),
        coming=frozenset(name for name, one in told.items() if one.outcome not in _ENDED),
        leaving=frozenset(
            name for name, one in told.items() if one.outcome == AdapterOutcome.READY and name not in used
        ),
        in_flight=in_flight_on(leader.name, snapshot) if leader else {},
    )

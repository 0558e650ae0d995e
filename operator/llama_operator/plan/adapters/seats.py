"""What placement looks at, from what was seen: the groups' room and holdings, the gateways' requests."""

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import inf

from pydantic import ValidationError

from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.adapters.residency import AdapterSeat, AdapterTraffic, place
from llama_operator.plan.adapters.specified import SpecAdapter
from llama_operator.plan.groups.group import Group
from llama_serving.config import names
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.gateway import AdapterLoad

_FILE = names.CELL_CONFIG_PATH.rpartition("/")[2]
_ENDED = ("ready", "refused")


def held_adapters(
    specified: tuple[SpecAdapter, ...], groups: Iterable[Group], snapshot: Snapshot
) -> dict[str, tuple[str, ...]]:
    """Return by the group's name which adapters it shall hold; groups that have no room for any are not named."""
    wanted = [one.name for one in specified if one.wanted is not None]
    rooms = adapter_rooms(snapshot) if specified else {}
    seats = [_seat(group, rooms[group.id.name], snapshot) for group in groups if group.id.name in rooms]
    return place(wanted, seats, traffic_of(snapshot))


def adapter_rooms(snapshot: Snapshot) -> dict[str, int]:
    """Return by the group's name how many adapters its engine was started with room for; only groups with any."""
    files = (
        (child["metadata"]["name"], (child.get("data") or {}).get(_FILE))
        for child in snapshot.children
        if child["kind"] == "ConfigMap"
    )
    limits = {name: _limits(text) for name, text in files if text}
    return {name: one.held for name, one in limits.items() if one}


def announced(text: str) -> dict[str, str]:
    """Read an annotation of ours: ids by name; none where it is empty or of another form."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
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
        leaving=frozenset(name for name, one in told.items() if one.outcome == "ready" and name not in used),
        in_flight=in_flight_on(leader.name, snapshot) if leader else {},
    )


@functools.lru_cache(maxsize=256)
def _limits(text: str) -> AdapterLimits | None:
    """Read the room for adapters from a group's file, which an operator of another version may have written."""
    try:
        found = json.loads(text).get("adapters")
        return AdapterLimits.model_validate(found) if found else None
    except (ValueError, AttributeError, ValidationError):
        return None

"""Which resource is short, and by how much: a pod or a group that was not placed against the room of every node.

The scheduler's own message names the reasons per node without amounts. Where the operator may see nodes and pods, the
node that comes closest is named with what it has, what is taken and what is missing.
"""

from collections import Counter
from collections.abc import Mapping

from llama_operator.observe.deployment import PodView
from llama_operator.plan.placement.fit import (
    PODS,
    FreeCapacity,
    as_many_as_fit,
    could_ever_fit,
    holds,
    may_run,
    why_not,
)
from llama_operator.plan.reasons import Explanation
from llama_operator.ports import NodeCapacity, PodRequest
from llama_serving.config.reasons import Reason

_COMMON = frozenset({"cpu", "memory", "ephemeral-storage", PODS})  # what is named only where no device is short
_NODES_NAMED, _USERS_NAMED = 3, 2


def shortage(pod: PodView, rooms: tuple[NodeCapacity, ...] | None) -> str:
    """The end of a sentence that starts with the pod's name."""
    needs = pod.requests
    asked = ", ".join(f"{show_quantity(amount)} {name}" for name, amount in sorted(needs.items()))
    closest = _closest(needs, rooms or ())
    said = pod.unscheduled
    return f"needs {asked or 'a node'}{closest}; scheduler: {said}"


def _closest(needs: Mapping[str, float], rooms: tuple[NodeCapacity, ...]) -> str:
    candidates = [(_missing(needs, room), room) for room in rooms if room.schedulable and room.ready]
    if not candidates:
        return ""
    lacking, room = min(candidates, key=lambda item: (len(item[0]), _worst_share(item[0], needs), item[1].name))
    if not lacking:
        return f" (node {room.name} has the room, so another rule keeps it away)"
    parts = [
        f"{show_quantity(max(room.allocatable.get(name, 0) - room.requested.get(name, 0), 0))} {name} free of"
        f" {show_quantity(room.allocatable.get(name, 0))}, {show_quantity(short)} short"
        for name, short in sorted(lacking.items())
    ]
    return f"; of {len(candidates)} nodes {room.name} comes closest: {', '.join(parts)}"


def _missing(needs: Mapping[str, float], room: NodeCapacity) -> dict[str, float]:
    free = {name: room.allocatable.get(name, 0) - room.requested.get(name, 0) for name in needs}
    return {name: amount - max(free[name], 0) for name, amount in needs.items() if amount > free[name]}


def _worst_share(lacking: Mapping[str, float], needs: Mapping[str, float]) -> float:
    return max((short / needs[name] for name, short in lacking.items()), default=0)


def show_quantity(value: float) -> str:
    """The shortest usual form: ``2``, ``500m``, ``16Gi``."""
    for suffix, factor in (("Gi", 2**30), ("Mi", 2**20)):
        if value >= factor:
            return f"{value / factor:.1f}".removesuffix(".0") + suffix
    if value != int(value):
        return f"{value * 1000:.0f}m"
    return str(int(value))


# -- a whole group ----------------------------------------------------------------------------------------------------


def group_shortage(ordinal: int, asks: tuple[PodRequest, ...], floor: FreeCapacity) -> Explanation:
    """Why the pods of a group, which are alike, find no room together: what is missing, where, and who has it."""
    ask, usable = asks[0], tuple(room for room in floor.rooms if may_run(asks[0], room))
    if not usable:
        asked = ", ".join(f"{show_quantity(amount)} {name}" for name, amount in sorted(ask.requests.items()))
        text = f"group {ordinal} needs {len(asks)} x {asked}, and no node may run it: {_kept_away(ask, floor.rooms)}"
        return Explanation(Reason.UNSCHEDULABLE, text, ordinal)
    text = f"group {ordinal} needs {_missing_together(asks, usable, floor)}"
    if could_ever_fit(asks, floor.rooms):
        return Explanation(Reason.WAITING_FOR_ROOM, text, ordinal)
    return Explanation(Reason.UNSCHEDULABLE, f"{text}; the nodes would not hold it even if they were empty", ordinal)


def _missing_together(asks: tuple[PodRequest, ...], usable: tuple[NodeCapacity, ...], floor: FreeCapacity) -> str:
    """What the nodes lack for the first pod that finds none, once those before it have theirs."""
    ask, free = asks[0], {room.name: dict(floor.free[room.name]) for room in usable}
    nodes = as_many_as_fit(asks, usable, free)
    left = ((_lacking(ask, free[room.name]), room) for room in usable if not (ask.apart and room.name in nodes))
    lacking, closest = min(left, key=lambda one: _distance(one, ask), default=({}, usable[0]))
    name = min(lacking or ask.requests, key=lambda one: (one in _COMMON, one), default=PODS)
    total = sum(max(floor.free[room.name].get(name, 0), 0) for room in usable)
    needs = f"{len(asks)} x {show_quantity(ask.requests.get(name, 1))} {name}, {show_quantity(total)} are free"
    where = _closest_of(lacking, closest, len(usable), free[closest.name])
    return f"{needs}{_users(ask, name, usable, floor)}{_spread(ask, len(asks), len(nodes))}{where}"


def _kept_away(ask: PodRequest, rooms: tuple[NodeCapacity, ...]) -> str:
    counts = Counter(why_not(ask, room) for room in rooms)
    said = ", ".join(f"{number} {why}" for why, number in sorted(counts.items()))
    return f"of {len(rooms)} nodes {said}" if rooms else "there are no nodes"


def _lacking(ask: PodRequest, free: Mapping[str, float]) -> dict[str, float]:
    if holds(free, ask):
        return {}
    has = {name: max(free.get(name, 0), 0) for name in ask.requests}
    found = {name: amount - has[name] for name, amount in ask.requests.items() if amount > has[name]}
    return found or {PODS: 1}


def _distance(one: tuple[dict[str, float], NodeCapacity], ask: PodRequest) -> tuple[int, float, str]:
    lacking, room = one
    return len(lacking), _worst_share(lacking, {PODS: 1, **ask.requests}), room.name


def _users(ask: PodRequest, name: str, usable: tuple[NodeCapacity, ...], floor: FreeCapacity) -> str:
    """Who has what is missing, on the nodes that would hold a pod without them."""
    needs = ask.requests.get(name, 1)
    full = [room for room in usable if floor.free[room.name].get(name, 0) < needs <= room.allocatable.get(name, 0)]
    full.sort(key=lambda room: (-floor.free[room.name].get(name, 0), room.name))
    parts = [part for room in full[:_NODES_NAMED] if (part := _users_of(room, name, floor))]
    return f": {'; '.join(parts)}" if parts else ""


def _users_of(room: NodeCapacity, name: str, floor: FreeCapacity) -> str:
    users = [*room.users, *floor.promised.get(room.name, ())]
    found = sorted((-_amount(user, name), f"{user.namespace}/{user.name}") for user in users if _amount(user, name))
    if not found:
        return ""
    named = ", ".join(who for _, who in found[:_USERS_NAMED])
    more = f" and {len(found) - _USERS_NAMED} more" if len(found) > _USERS_NAMED else ""
    return f"{room.name} has {show_quantity(-sum(amount for amount, _ in found))} in use by {named}{more}"


def _amount(user: PodRequest, name: str) -> float:
    return 1 if name == PODS else user.requests.get(name, 0)


def _spread(ask: PodRequest, stages: int, placed: int) -> str:
    if not ask.apart:
        return ""
    return f"; its {stages} stages go to different nodes (placement.spreadStages), {placed} of them have the room"


def _closest_of(lacking: dict[str, float], room: NodeCapacity, usable: int, free: Mapping[str, float]) -> str:
    if not lacking:
        return ""
    parts = [
        f"{show_quantity(max(free.get(name, 0), 0))} {name} free of"
        f" {show_quantity(room.allocatable.get(name, 0))}, {show_quantity(short)} short"
        for name, short in sorted(lacking.items())
    ]
    return f"; of {usable} nodes {room.name} comes closest: {', '.join(parts)}"

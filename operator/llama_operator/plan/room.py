"""Which resource is short, and by how much: a pod that was not placed against the room of every node.

The scheduler's own message names the reasons per node without amounts. Where the operator may see nodes and pods, the
node that comes closest is named with what it has, what is taken and what is missing.
"""

from collections.abc import Mapping

from llama_operator.observe import PodView
from llama_operator.ports import NodeRoom


def shortage(pod: PodView, rooms: tuple[NodeRoom, ...] | None) -> str:
    """The end of a sentence that starts with the pod's name."""
    needs = pod.requests
    asked = ", ".join(f"{show_quantity(amount)} {name}" for name, amount in sorted(needs.items()))
    closest = _closest(needs, rooms or ())
    said = pod.unscheduled.strip()
    return f"needs {asked or 'a node'}{closest}; scheduler: {said}"


def _closest(needs: Mapping[str, float], rooms: tuple[NodeRoom, ...]) -> str:
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


def _missing(needs: Mapping[str, float], room: NodeRoom) -> dict[str, float]:
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

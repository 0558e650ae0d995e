"""Strikes of nodes: how often devices of a node have failed groups of this deployment, fading with time.

    weight(t) = strikes x 0.5 ^ (time since the last strike / HALF_LIFE)

A stage whose devices fail strikes its node, at most once in PACE, and adds 1 to what is left of the earlier strikes; a
node never has more than MOST. Before Ray starts a fault has to last for SETTLES: memory that an ended process still
holds is no fault of the node. When the engine failed over a device, and no stage says which one, every node of the
group is struck. Nothing else strikes a node, whatever fails: not the model, its weights, their verification, or an
engine that fails for another reason.

A group leaves a node from LEAVE_FROM on, so after three faults in a short time, and new pods avoid a node from
AVOID_FROM on. Two nodes that both fail do not pass a group between them: a node that was just left is avoided for a
half-life at least, the longer the more strikes it has. For another struck node, or where nobody knows the nodes, the
same node is left again only after FIRST_PAUSE, twice that, ... at most LONGEST_PAUSE.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from llama_operator.api.v1alpha1.status import NodeStrikes
from llama_operator.plan.groups.group import Group
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Phase
from llama_serving.config.wording import clause

HALF_LIFE: Final = timedelta(hours=1)
PACE: Final = timedelta(seconds=30)
SETTLES: Final = 15.0  # seconds
LEAVE_FROM: Final = 2.5  # three strikes, the first of which is not long ago
AVOID_FROM: Final = 1.5
FORGOTTEN_BELOW: Final = 0.5
MOST: Final = 12.0
KEPT: Final = 32  # nodes; those with most strikes
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=10), timedelta(hours=4)

#: Reasons of a stage for which a node is struck.
DEVICE_REASONS: Final = frozenset(
    {
        CellReason.DEVICES_MISSING,
        CellReason.DRIVER_TOO_OLD,
        CellReason.DEVICE_UNHEALTHY,
        CellReason.DEVICE_BUSY,
    }
)
_BEFORE_RAY: Final = frozenset({Phase.STARTING, Phase.JOINING})
_LONGEST: Final = 300  # characters of a message


@dataclass(frozen=True)
class DeviceFault:
    """What a group says against the devices of a node."""

    node: str
    reason: CellReason
    message: str


def weight(record: NodeStrikes, now: datetime) -> float:
    """Return what is left of a node's strikes."""
    age = max(now - record.at, timedelta())
    return float(record.strikes * 0.5 ** (age / HALF_LIFE))


def device_faults(group: Group) -> Iterator[DeviceFault]:
    """Tell which nodes the group's stages have something against now."""
    for pod in group.pods:
        state = group.states.get(pod.stage)
        if state is None or not pod.node or not _blames_devices(state):
            continue
        accused = (pod,) if state.phase in _BEFORE_RAY else group.pods
        yield from (DeviceFault(one.node, state.reason, state.message) for one in accused if one.node)


def _blames_devices(state: CellState) -> bool:
    lasts = state.phase not in _BEFORE_RAY or state.uptime_seconds >= SETTLES
    return state.reason in DEVICE_REASONS and lasts


def strikes_after(
    before: tuple[NodeStrikes, ...], groups: Iterable[Group], left: Iterable[str], *, now: datetime
) -> tuple[NodeStrikes, ...]:
    """Return the records after a pass in which groups leave the nodes of ``left``; what has faded is forgotten."""
    records = {one.node: one for one in before if weight(one, now) >= FORGOTTEN_BELOW}
    for fault in (fault for group in groups for fault in device_faults(group)):
        records[fault.node] = _struck(records.get(fault.node), fault, now.replace(microsecond=0))
    for node in left:
        if record := records.get(node):
            update = {"left": now.replace(microsecond=0), "times_left": record.times_left + 1}
            records[node] = record.model_copy(update=update)
    heaviest = sorted(records.values(), key=lambda one: (-weight(one, now), one.node))[:KEPT]
    return tuple(sorted(heaviest, key=lambda one: one.node))


def _struck(record: NodeStrikes | None, fault: DeviceFault, now: datetime) -> NodeStrikes:
    if record is not None and now - record.at < PACE:
        return record
    earlier = weight(record, now) if record else 0.0
    fields = {
        "strikes": round(min(earlier + 1, MOST), 2),
        "at": now,
        "reason": fault.reason.value,
        "message": clause(fault.message, _LONGEST),
    }
    return (record or NodeStrikes(node=fault.node, strikes=0, at=now)).model_copy(update=fields)


def avoided(records: Iterable[NodeStrikes], now: datetime) -> tuple[str, ...]:
    """Return the nodes that new pods avoid, the least struck first."""
    found = [(weight(one, now), one.node) for one in records]
    return tuple(node for struck, node in sorted(found) if struck >= AVOID_FROM)


def is_spent(record: NodeStrikes, now: datetime) -> bool:
    """Return whether the node has the strikes with which a group leaves it."""
    return weight(record, now) >= LEAVE_FROM


def may_be_left_again(record: NodeStrikes, now: datetime) -> bool:
    """Return whether the node was not left a short time ago: asked where the group may come back to it."""
    if record.left is None:
        return True
    pause = doubling_pause(
        record.times_left, first=FIRST_PAUSE.total_seconds(), longest=LONGEST_PAUSE.total_seconds()
    )  # fmt: skip
    return now - record.left >= timedelta(seconds=pause)

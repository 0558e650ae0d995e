"""Which groups are wanted when there are more or fewer than asked for: a set of ordinals, not the first so many.

Those that serve come first, then those that left the rotation and still answer (the latest to leave first: a group
that drains is taken back rather than another one started), then those that start, the oldest first and those that
wait for room last, then those that lose a pod or end, then the lowest ordinals that nobody has. So a group that serves
never goes before one that starts, and without surplus groups the result is 0, 1, 2 ...
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count

from llama_operator.plan.groups.group import Group
from llama_operator.plan.placement.gang import is_held

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def wanted_ordinals(units: Iterable[Group], replicas: int, now: datetime) -> tuple[int, ...]:
    """Ordinals of the groups that shall be there, ascending; there are exactly ``replicas``."""
    ranks: dict[int, tuple[int, float]] = {}
    for unit in units:
        ordinal, rank = unit.group.ordinal, _rank(unit, now)
        ranks[ordinal] = min(rank, ranks.get(ordinal, rank))  # while one is replaced, two units share its ordinal
    wanted = sorted(ranks, key=lambda ordinal: (ranks[ordinal], ordinal))[:replicas]
    free = (ordinal for ordinal in count() if ordinal not in ranks)
    wanted += [next(free) for _ in range(replicas - len(wanted))]
    return tuple(sorted(wanted))


def _rank(unit: Group, now: datetime) -> tuple[int, float]:
    if unit.torn or (unit.leader is None and not all(pod.alive for pod in unit.pods)):
        return 5, 0.0
    if unit.may_serve(now):
        return int(not unit.serving), 0.0
    if is_leaving(unit):
        since = unit.leader.rotation_since if unit.leader else None
        return 2, -(since or _LONG_AGO).timestamp()
    made = min(pod.created for pod in unit.pods).timestamp()
    return 4 if is_held(unit, now) else 3, made


def is_leaving(unit: Group) -> bool:
    """Out of rotation with an engine that is there: it could have requests again at once."""
    return unit.leader is not None and unit.leader.in_rotation is False and (unit.answers or unit.exchanges)

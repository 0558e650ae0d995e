"""Which groups are wanted when there are more or fewer than asked for: a set of ordinals, not the first so many.

Those that serve come first, then those that left the rotation and still answer (the latest to leave first: a group
that drains goes back into rotation before another one is started), then those that start, the oldest first and those
that wait for room last, then those that lose a pod or end, then the lowest ordinals that nobody has. So a group that
serves never goes before one that starts, and without surplus groups the result is 0, 1, 2 ...
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count

from llama_operator.plan.groups.group import Group
from llama_operator.plan.placement.gang import is_held

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def wanted_ordinals(groups: Iterable[Group], replicas: int, now: datetime) -> tuple[int, ...]:
    """Choose the ordinals of the groups that shall be there, ascending; there are exactly ``replicas``."""
    ranks: dict[int, tuple[int, float]] = {}
    for group in groups:
        ordinal, rank = group.id.ordinal, _rank(group, now)
        ranks[ordinal] = min(rank, ranks.get(ordinal, rank))  # while one is replaced, two groups share its ordinal
    wanted = sorted(ranks, key=lambda ordinal: (ranks[ordinal], ordinal))[:replicas]
    free = (ordinal for ordinal in count() if ordinal not in ranks)
    wanted += [next(free) for _ in range(replicas - len(wanted))]
    return tuple(sorted(wanted))


def _rank(group: Group, now: datetime) -> tuple[int, float]:
    if group.incomplete or (group.leader is None and not all(pod.alive for pod in group.pods)):
        return 5, 0.0
    if group.may_serve(now):
        return int(not group.serving), 0.0
    if is_leaving(group):
        since = group.leader.rotation_since if group.leader else None
        return 2, -(since or _LONG_AGO).timestamp()
    made = min(pod.created for pod in group.pods).timestamp()
    return 4 if is_held(group, now) else 3, made


def is_leaving(group: Group) -> bool:
    """Return whether it is out of rotation with an engine that is there: it could have requests again at once."""
    return group.leader is not None and group.leader.in_rotation is False and (group.answers or group.updating)

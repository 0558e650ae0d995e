"""Gives groups their room: looks at it as it is now, and removes the scheduling gates of the groups that it holds.

One loop of this process at a time does it (``lock``), from the look to the last removal, so that two groups never get
the same room; what was given shows in the next look, whether the scheduler has seen it or not. A group that waits long
is looked at seldom: with a fifth of its waiting time, at most LONGEST_AGE seconds, between two looks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from llama_operator.apply import Outcome
from llama_operator.plan import sentences
from llama_operator.plan.placement.fit import FreeCapacity
from llama_operator.plan.placement.shortage import group_shortage
from llama_operator.plan.plan import Admission
from llama_operator.plan.reasons import Explanation
from llama_operator.ports import Capacity, Cluster, Key, PodRequest, Ref, Retry
from llama_serving.config.reasons import Reason

LONGEST_AGE = 10.0  # seconds


async def admit_groups(
    items: Sequence[Admission], *, key: Key, cluster: Cluster, lock: asyncio.Lock, outcome: Outcome, now: datetime
) -> None:
    """Admit what there is room for; the first group that finds none says why, and those after it wait for it.

    Where the room cannot be known (the operator may not list nodes) all are admitted.
    """
    if not items:
        return
    async with lock:
        for item in (item for item in items if item.begun):
            await _admit(item, key, cluster, outcome, now)
        waiting = [item for item in items if not item.begun]
        try:
            seen = await _look(waiting, cluster, now) if waiting else None
        except Retry as error:
            text = sentences.capacity_unknown(str(error))
            outcome.problems.append(Explanation(Reason.API_RETRY, text))
            return
        floor = FreeCapacity(seen) if seen else None
        for item in waiting:
            asks = _asks(item, seen) if seen else ()
            if seen and not asks:  # its pods are gone
                continue
            if floor and not floor.place(asks):
                outcome.problems.append(_held(item, asks, floor))
                return
            await _admit(item, key, cluster, outcome, now)


async def _look(items: Sequence[Admission], cluster: Cluster, now: datetime) -> Capacity | None:
    """As old as the patience of the group that waits least; what decides that a group starts is never old."""
    waited = min((now - item.since).total_seconds() for item in items)
    age = min(waited / 5, LONGEST_AGE)
    if age >= 1:
        seen = await cluster.capacity(age=age)
        if seen is None or not _fits(items[0], seen):
            return seen
    return await cluster.capacity(age=0)


def _fits(item: Admission, seen: Capacity) -> bool:
    return FreeCapacity(seen).place(_asks(item, seen))


def _asks(item: Admission, seen: Capacity) -> tuple[PodRequest, ...]:
    """The pods of the group; of one that was not seen it is only known that it is like the others."""
    by_uid = {ask.uid: ask for ask in seen.waiting}
    found = tuple(by_uid[uid] for _, uid in item.pods if uid in by_uid)
    return found + found[:1] * (len(item.pods) - len(found))


def _held(item: Admission, asks: Sequence[PodRequest], floor: FreeCapacity) -> Explanation:
    hold = group_shortage(item.group.ordinal, tuple(asks), floor)
    if not item.behind:
        return hold
    return replace(hold, detail=f"{hold.detail}; {sentences.groups_behind(item.behind)}")


async def _admit(item: Admission, key: Key, cluster: Cluster, outcome: Outcome, now: datetime) -> None:
    for name, uid in item.pods:
        call = cluster.admit(key, Ref("v1", "Pod", name, uid), at=now)
        await outcome.attempt(f"the start of pod {name}", call)

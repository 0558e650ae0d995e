"""Admits groups: looks at the nodes as they are now, and removes the scheduling gates of the groups that fit.

One loop of this process at a time does it (``lock``), from the look to the last removal, so that two groups never get
the same capacity. What was given shows in the next look, whether the scheduler has seen it or not. For a group that
waits long the nodes are listed seldom: at intervals of a fifth of its waiting time, at most LONGEST_AGE seconds.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from llama_operator.apply import Outcome
from llama_operator.plan.actions import Admission
from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import placement as sentences
from llama_operator.ports import Capacity, Cluster, Key, Ref, Retry
from llama_serving.config.reasons import Reason

LONGEST_AGE = 10.0  # seconds


async def admit_groups(
    items: Sequence[Admission], *, key: Key, cluster: Cluster, lock: asyncio.Lock, outcome: Outcome, now: datetime
) -> None:
    """Remove the gates of the groups that fit; the first that does not fit says why, and those after it wait for it.

    Where the capacity cannot be known (the operator may not list nodes) all groups are admitted.
    """
    if not items:
        return
    async with lock:
        begun, waiting = [item for item in items if item.begun], [item for item in items if not item.begun]
        for item in begun:
            await _remove_gates(item, key, cluster=cluster, outcome=outcome, now=now)
        try:
            seen = await _look(waiting, cluster, now) if waiting else None
        except Retry as error:
            text = sentences.capacity_unknown(str(error))
            outcome.problems.append(Explanation(Reason.API_RETRY, text))
            return
        decision = admit(seen, [_waiting_group(item, seen) for item in waiting]) if seen else None
        for item in waiting:
            if seen is None or decision is None or _waiting_group(item, seen) in decision.admitted:
                await _remove_gates(item, key, cluster=cluster, outcome=outcome, now=now)
        outcome.problems.extend(decision.explanations if decision else ())


async def _look(items: Sequence[Admission], cluster: Cluster, now: datetime) -> Capacity | None:
    """List the nodes. The list may be as old as a fifth of the shortest wait, but a group starts on a new one only."""
    waited = min((now - item.since).total_seconds() for item in items)
    age = min(waited / 5, LONGEST_AGE)
    if age >= 1:
        seen = await cluster.capacity(age=age)
        if seen is None or admit(seen, [_waiting_group(items[0], seen)]).explanations:
            return seen
    return await cluster.capacity(age=0)


def _waiting_group(item: Admission, seen: Capacity) -> WaitingGroup:
    """Find the group's pods; of a pod that was not seen it is only known that it is like the others."""
    by_uid = {pod.uid: pod for pod in seen.waiting}
    found = tuple(by_uid[uid] for _, uid in item.pods if uid in by_uid)
    pods = found + found[:1] * (len(item.pods) - len(found))
    return WaitingGroup(f"group {item.group.ordinal}", pods, item.group.ordinal, item.behind)


async def _remove_gates(item: Admission, key: Key, *, cluster: Cluster, outcome: Outcome, now: datetime) -> None:
    for name, uid in item.pods:
        call = cluster.admit(key, Ref("v1", "Pod", name, uid), at=now)
        await outcome.attempt(f"the start of pod {name}", call)

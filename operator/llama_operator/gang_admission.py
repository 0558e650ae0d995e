"""Admits groups: asks the view of the nodes, and removes the scheduling gates of the groups that fit.

Deciding and reserving is one step without any wait, so two loops never give the same capacity; the writes follow, and
no loop waits for those of another. What was given stays reserved until the view shows it (adapters/reservations.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from llama_operator.apply import Outcome
from llama_operator.plan.actions import Admission
from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import placement as sentences
from llama_operator.ports import Capacity, Cluster, Key, Ref, Retry
from llama_serving.config.reasons import Reason


async def admit_groups(
    items: Sequence[Admission], *, key: Key, cluster: Cluster, outcome: Outcome, now: datetime
) -> None:
    """Remove the gates of the groups that fit; the first that does not fit says why, and those after it wait for it.

    Where the capacity cannot be known (the operator may not watch nodes) all groups are admitted.
    """
    begun, waiting = [item for item in items if item.begun], [item for item in items if not item.begun]
    try:
        fitting = await _decide(waiting, cluster, outcome) if waiting else []
    except Retry as error:
        outcome.problems.append(Explanation(Reason.API_RETRY, sentences.capacity_unknown(str(error))))
        fitting = []
    for item in (*begun, *fitting):
        await _remove_gates(item, key, cluster=cluster, outcome=outcome, now=now)


async def _decide(waiting: Sequence[Admission], cluster: Cluster, outcome: Outcome) -> list[Admission]:
    """Choose the groups that fit and reserve their capacity. Nothing is awaited between the look and the reservation.

    What an earlier pass reserved for these groups is given back first: its writes did not come through.
    """
    cluster.unreserve([uid for item in waiting for _, uid in item.pods])
    seen = await cluster.capacity()
    if seen is None:
        return list(waiting)
    asked = [_waiting_group(item, seen) for item in waiting]
    decision = admit(seen, asked)
    outcome.problems.extend(decision.explanations)
    cluster.reserve([pod for group in decision.admitted for pod in group.pods])
    return [item for item, group in zip(waiting, asked, strict=True) if group in decision.admitted]


def _waiting_group(item: Admission, seen: Capacity) -> WaitingGroup:
    """Find the group's pods; of a pod that was not seen it is only known that it is like the others."""
    by_uid = {pod.uid: pod for pod in seen.waiting}
    alike = next((by_uid[uid] for _, uid in item.pods if uid in by_uid), None)
    pods = tuple(by_uid.get(uid) or replace(alike, name=name, uid=uid) for name, uid in item.pods) if alike else ()
    return WaitingGroup(f"group {item.group.ordinal}", pods, item.group.ordinal, item.behind)


async def _remove_gates(item: Admission, key: Key, *, cluster: Cluster, outcome: Outcome, now: datetime) -> None:
    for name, uid in item.pods:
        call = cluster.admit(key, Ref("v1", "Pod", name, uid), at=now)
        await outcome.attempt(f"the start of pod {name}", call)

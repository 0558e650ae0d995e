"""Which waiting groups the nodes have capacity for: the one rule that admits, used to admit and to plan ahead.

``gang_admission`` removes the scheduling gates of the groups that are admitted here; ``plan/rollout/strategy.py`` asks
the same question for a group that is not made yet. So "surge" means that the new group will be admitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llama_operator.plan.placement.fit import FreeCapacity
from llama_operator.plan.placement.shortage import group_shortage
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import placement as sentences
from llama_operator.ports import Capacity, PodRequest


@dataclass(frozen=True)
class WaitingGroup:
    """A group that needs capacity for all its pods at once."""

    label: str  # names the group at the start of a sentence
    pods: tuple[PodRequest, ...]  # empty: its pods are gone
    ordinal: int | None = None
    behind: tuple[int, ...] = ()  # ordinals of the groups that are made after it


@dataclass(frozen=True)
class AdmissionDecision:
    """The groups that are admitted, and why the first of the others is not."""

    admitted: tuple[WaitingGroup, ...] = ()
    explanations: tuple[Explanation, ...] = ()


def admit(capacity: Capacity, waiting: Sequence[WaitingGroup]) -> AdmissionDecision:
    """Admit groups in their order, up to the first that does not fit: the groups after it wait for it.

    A group without pods is skipped.
    """
    free = FreeCapacity(capacity)
    admitted: list[WaitingGroup] = []
    for group in waiting:
        if not group.pods:
            continue
        if not free.place(group.pods):
            return AdmissionDecision(tuple(admitted), (_explanation(group, free),))
        admitted.append(group)
    return AdmissionDecision(tuple(admitted))


def _explanation(group: WaitingGroup, free: FreeCapacity) -> Explanation:
    reason, text = group_shortage(group.pods, free)
    return Explanation(reason, f"{group.label} {text}{sentences.groups_behind(group.behind)}", group.ordinal)

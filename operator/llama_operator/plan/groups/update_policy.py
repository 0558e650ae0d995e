"""What the groups are to be in one pass, and how many may change at a time."""

from collections.abc import Iterable
from dataclasses import dataclass

from llama_operator.plan.groups.template import GroupTemplate


@dataclass(frozen=True)
class UpdatePolicy:
    """What the groups are to be in this pass, and how fast they may get there."""

    desired: GroupTemplate  # of the groups that may change
    fallback: GroupTemplate  # of the others, where they have to be made
    changing: frozenset[int] = frozenset()  # ordinals that may change
    prefetch: frozenset[int] = frozenset()  # ordinals that change later: the weights are staged beside what serves
    reverse: bool = False  # highest ordinal first
    may_disrupt: bool = True  # serving groups may be disrupted, and groups be made beside them
    surge: int = 0  # groups beside those that they replace
    unavailable: int = 1
    removals: tuple[int, ...] = ()  # ordinals in the order in which their groups leave; others before, as numbered

    def order(self, ordinals: Iterable[int]) -> list[int]:
        """Return these ordinals in the order in which they are changed."""
        turns = {ordinal: turn for turn, ordinal in enumerate(self.removals)}
        by_number = sorted(ordinals, reverse=self.reverse)
        return sorted(by_number, key=lambda ordinal: turns.get(ordinal, -1))

    def template(self, ordinal: int) -> GroupTemplate:
        """Return what the group of this ordinal is to be."""
        return self.desired if ordinal in self.changing else self.fallback


@dataclass
class DisruptionBudget:
    """How many serving groups may still be disrupted in this pass, and how many be made beside others."""

    disruptions_left: int
    surge_left: int

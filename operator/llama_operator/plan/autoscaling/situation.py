"""Everything that a target is chosen from, as one value."""

from dataclasses import dataclass
from datetime import datetime

from llama_operator.plan.autoscaling.formula import demand
from llama_operator.plan.autoscaling.formula.demand import DemandHistory, Needs
from llama_operator.plan.autoscaling.formula.windows import Windows
from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.owed import Owed


@dataclass(frozen=True)
class RuleNeed:
    """The groups that the rule which is followed asks for (learning/), and that rule in words."""

    groups: int
    rule: str
    with_formula: bool = False  # the formula counts too, and the larger number of both
    only_down: bool = False  # the formula decides; ``groups`` are what it had come to alone, and more are not kept


@dataclass(frozen=True)
class Situation:
    """One reading with everything that is known beside it."""

    load: Load
    groups: GroupCounts
    limits: Limits
    windows: Windows
    history: DemandHistory
    needs: Needs
    before: int | None  # the last target; None: there was none
    owed: Owed
    failed_starts: int  # in a row
    not_before: datetime | None  # no group is started for a request before this
    paused: bool  # it is before that
    rule: RuleNeed | None = None  # None: the formula decides

    @property
    def target(self) -> int:
        """The target so far."""
        return self.limits.floor if self.before is None else self.before

    @property
    def by_formula(self) -> bool:
        """Return whether the formula counts."""
        return self.rule is None or self.rule.with_formula or self.rule.only_down

    @property
    def ruled(self) -> int:
        """Groups that the rule asks for; none where there was no request for so long that the last one may go."""
        counts = self.rule and not self.rule.only_down and self.history.quiet < self.limits.idle_after
        return self.rule.groups if self.rule and counts else 0

    @property
    def wanted(self) -> int:
        """Groups that a raise would go to, limits aside."""
        if not self.target and not self.load.waiting:
            return 0  # load from before the last group was removed is no reason for a new one
        formula = max(self.needs.now, self.needs.later) if self.by_formula else 0
        return max(formula, self.ruled, self.needs.queue, 0 if self.target else 1)

    @property
    def enough(self) -> int:
        """Groups that a scale-down would go to in the end, limits aside.

        Load that is gone for ``keep`` is gone, however unevenly it came before.
        """
        formula = self.by_formula and self.history.quiet < self.windows.keep
        peak = max(demand.peak(self.history) if formula else 0, self.ruled)
        if self.rule and self.rule.only_down:
            peak = min(peak, self.rule.groups)
        most = max(peak, self.target if self.load.waiting else 0)
        return 0 if most <= 1 and self.history.quiet >= self.limits.idle_after else max(1, most)

    def figures(self) -> dict[str, float]:
        """List the figures behind the decision by name, as the status shows them."""
        needs = self.needs
        return {
            "inFlight": self.load.in_flight,
            "waiting": self.load.waiting,
            "waitingSeconds": round(needs.waiting, 1),
            "slotsTaken": round(needs.work, 1),
            "burst": round(needs.burst, 1),
            "requestSeconds": round(needs.service, 2),
            "startSeconds": round(self.windows.horizon, 1),
            "neededNow": needs.now,
            "neededLater": needs.later,
            "neededByQueue": needs.queue,
            "enough": self.enough,
        }

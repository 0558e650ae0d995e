"""The formula (policy.py) as one of the rules: in its own run of what the load would have become."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.plan.autoscaling.state import DurableState, PolicyState

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)  # the policy only notes the time


@dataclass(frozen=True)
class Formula:
    """The formula with a share of its own that may be late, and with windows of its own, in seconds.

    None: the windows that follow from the time that a start takes.
    """

    late: float = Limits.late
    stable: float | None = None
    cooldown: float | None = None

    def limits(self, limits: Limits) -> Limits:
        """Return the limits with these windows."""
        return replace(limits, late=self.late, stable=self.stable, cooldown=self.cooldown)

    def __str__(self) -> str:
        said = "the formula"
        if self.late != Limits.late:
            said += f", {100 * self.late:g} % late by itself"
        return said if self.stable is None else f"{said}, windows of {self.stable:.0f} s"


#: The first is what is followed until more is known. The formula errs on the safe side with most loads: the others use
#: up more of what may be late, or let groups go sooner, where starts take long.
FORMULAS = (
    Formula(),
    Formula(late=0.04),
    Formula(late=0.2),
    Formula(stable=60, cooldown=30),
    Formula(late=0.04, stable=60, cooldown=30),
)


class FormulaRun:
    """The formula in its own groups and queue. ``step`` changes it in place."""

    def __init__(self, formula: Formula, groups: int) -> None:
        self._formula = formula
        self._state = PolicyState(durable=DurableState(target=groups))
        self._starting: list[float] = []  # when each was ordered, the oldest first
        self.target = groups
        self._second = 0
        self._answer = 0.0  # tokens

    def step(self, seen: Load, *, requests: float, busy: float, serving: int, limits: Limits) -> int:
        """Decide for ``busy`` requests on ``serving`` groups of ``requests``; ``seen`` has what came and was served."""
        self._second += 1
        ages = [self._second - one for one in self._starting]
        come = max(0, len(ages) - max(0, self.target - serving))
        self._state = self._state.with_starts(tuple(ages[:come]))
        del self._starting[:come], ages[:come]
        if seen.served:
            self._answer = seen.served_answer_tokens / seen.served
        waiting = round(requests - busy)
        load = replace(
            seen, span=1.0, waiting=waiting, in_flight=round(busy), oldest_wait=0.0,
            waiting_answer_tokens=round(waiting * self._answer),
        )  # fmt: skip
        groups = GroupCounts(serving=serving, starting=tuple(ages))
        now = _BEGIN + timedelta(seconds=self._second)
        decision = decide(load, groups, state=self._state, limits=self._formula.limits(limits), now=now)
        self._state = decision.state
        self._follow(decision.target)
        return self.target

    def _follow(self, target: int) -> None:
        more = target - self.target
        self._starting += [float(self._second)] * more
        if more < 0:
            del self._starting[max(0, len(self._starting) + more) :]
        self.target = target

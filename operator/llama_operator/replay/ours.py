"""The operator's own policies in the replay: what runs in the operator, fed by the simulated gateway."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.formula.windows import horizon_for
from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.learning.learner import Learner, PromiseTerms
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.plan.autoscaling.promise import promise_message
from llama_operator.plan.autoscaling.situation import RuleNeed
from llama_operator.plan.autoscaling.state import DurableState, PolicyState
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FormulaAlone:
    """``plan.autoscaling.policy.decide``, once a second."""

    limits: Limits
    state: PolicyState
    interval: float = 1.0

    def watch(self, seen: Seen) -> None:
        """Remember the starts that ended; a decision remembers everything else itself."""
        self.state = self.state.with_starts(seen.starts)

    def decide(self, seen: Seen) -> int:
        """Compute the target that the operator would set."""
        return self._decided(seen, self.limits, None)

    def _decided(self, seen: Seen, limits: Limits, rule: RuleNeed | None) -> int:
        now = _moment(seen)
        decision = decide(seen.load, seen.groups, state=self.state, limits=limits, now=now, rule=rule)
        self.state = decision.state
        return decision.target


@dataclass(frozen=True)
class Followed:
    """A rule that was followed from ``time`` on, in seconds since the trace began, and why, in a sentence."""

    time: float
    why: str


@dataclass
class Ours(FormulaAlone):
    """The same with the rule that ``plan.autoscaling.learning`` follows."""

    learner: Learner = field(kw_only=True)
    gpus: int = field(kw_only=True)  # of a group
    followed: list[Followed] = field(default_factory=list)

    def watch(self, seen: Seen) -> None:
        """Take in the reading as well."""
        super().watch(seen)
        delay = horizon_for(self.limits, self.state.durable.starts)
        changed = self.learner.observe(
            seen.load, limits=self.limits, delay=delay, prefer_cost=False, at=_moment(seen)
        )  # fmt: skip
        if changed:
            self.followed.append(Followed(seen.now, promise_message(self.learner, gpus=self.gpus, start=delay)))

    def decide(self, seen: Seen) -> int:
        """Compute the target that the operator would set."""
        return self._decided(seen, self.learner.limits(self.limits), self.learner.need)


def formula(parameters: Parameters, initial: int, **limits: float) -> FormulaAlone:
    """Begin as after an operator's start: no window is full, and the model's usual start time is known."""
    known = replace(_limits(parameters), **limits)  # type: ignore[arg-type]
    return FormulaAlone(known, PolicyState(durable=DurableState(target=initial)))


def ours(parameters: Parameters, initial: int, *, share: float | None = None, memory: float | None = None) -> Ours:
    """Begin as ``formula`` does, with nothing learnt. ``share`` and ``memory`` in place of the parameters' ones."""
    known = _limits(parameters)
    terms = PromiseTerms(
        known.in_group, known.wait, share or parameters.share, memory=memory or parameters.memorySeconds
    )  # fmt: skip
    learner = Learner(terms, delay=known.start, groups=initial)
    return Ours(known, PolicyState(durable=DurableState(target=initial)), learner=learner, gpus=parameters.gpus)


def _limits(parameters: Parameters) -> Limits:
    return Limits(
        floor=parameters.minReplicas,
        ceiling=parameters.maxReplicas,
        slots=parameters.slots,
        wait=parameters.wait,
        start=max(1.0, parameters.startDelay),
    )


def _moment(seen: Seen) -> datetime:
    return _BEGIN + timedelta(seconds=seen.now)

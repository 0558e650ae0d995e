"""The operator's own policy in the replay: the function that runs in the operator, fed by the simulated gateway."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.memory import DurableState, PolicyState
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Ours:
    """``plan.autoscaling.policy.decide``, once a second."""

    limits: Limits
    state: PolicyState
    interval: float = 1.0

    @classmethod
    def make(cls, parameters: Parameters, initial: int, **limits: float) -> "Ours":
        """Begin as after an operator's start: no window is full, and the model's usual start time is known."""
        known = Limits(
            floor=parameters.minReplicas,
            ceiling=parameters.maxReplicas,
            slots=parameters.slots,
            wait=parameters.wait,
            start=max(1.0, parameters.startDelay),
        )
        return cls(replace(known, **limits), PolicyState(durable=DurableState(target=initial)))  # type: ignore[arg-type]

    def watch(self, seen: Seen) -> None:
        """Remember the starts that ended; a decision remembers everything else itself."""
        self.state = self.state.with_starts(seen.starts)

    def decide(self, seen: Seen) -> int:
        """Compute the target that the operator would set."""
        now = _BEGIN + timedelta(seconds=seen.now)
        decision = decide(seen.load, seen.groups, state=self.state, limits=self.limits, now=now)
        self.state = decision.state
        return decision.target

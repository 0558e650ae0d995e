"""The operator's own policy in the replay: the function that runs in the operator, fed by the simulated gateway."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.policy import Kept, Limits, State, decide
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Ours:
    """``plan.autoscale.decide``, once a second."""

    limits: Limits
    state: State
    interval: float = 1.0

    @classmethod
    def make(cls, parameters: Parameters, initial: int, **limits: float) -> "Ours":
        """It begins as after an operator's start: no window is full, and the model's usual start time is known."""
        known = Limits(
            floor=parameters.minReplicas,
            ceiling=parameters.maxReplicas,
            slots=parameters.slots,
            wait=parameters.wait,
            start=max(1.0, parameters.startDelay),
        )
        return cls(replace(known, **limits), State(kept=Kept(target=initial)))  # type: ignore[arg-type]

    def watch(self, seen: Seen) -> None:
        """Starts that ended are remembered; everything else a decision remembers itself."""
        self.state = self.state.with_starts(seen.starts)

    def decide(self, seen: Seen) -> int:
        """The target that the operator would set."""
        now = _BEGIN + timedelta(seconds=seen.now)
        decision = decide(seen.load, seen.groups, self.state, self.limits, now)
        self.state = decision.state
        return decision.target

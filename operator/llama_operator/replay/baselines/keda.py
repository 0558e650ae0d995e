"""KEDA: a queue's length through an HPA of its own, and to and from zero by KEDA itself.

Source: keda.sh, ScaledObject specification (pollingInterval 30 s, cooldownPeriod 300 s, minReplicaCount 0) and the
queue scalers, whose target is 5 messages for each replica (queueLength of aws-sqs-queue) and which count those in
flight, too (scaleOnInFlight, default true). At zero the queue is looked at every 30 s, and anything in it starts one
group; from one on the HPA decides (every 15 s, ``hpa.py``). After 300 s with nothing in the queue it goes to zero,
where allowed.
"""

from dataclasses import dataclass, field

from llama_operator.replay.baselines.hpa import Hpa
from llama_operator.replay.baselines.hpa import Settings as HpaSettings
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen, clamp


@dataclass(frozen=True)
class Settings:
    """Fields of a ScaledObject; times in seconds."""

    target: float = 5.0  # requests in the queue or in flight, for each group
    polling: float = 30.0
    cooldown: float = 300.0
    down_window: float = 300.0


@dataclass
class Keda:
    """State of the rule. It is asked every 15 s as its HPA is; ``polling`` is kept for the way to and from zero."""

    parameters: Parameters
    settings: Settings
    initial: int
    interval: float = 15.0
    hpa: Hpa = field(init=False)
    polled: float = -1e9
    active: float = 0.0  # when there was last something in the queue

    def __post_init__(self) -> None:
        settings = HpaSettings(target=self.settings.target, down_window=self.settings.down_window)
        self.hpa = Hpa(self.parameters, settings, self.initial)

    def watch(self, seen: Seen) -> None:
        """Ignore readings: the rule remembers decisions only."""

    def decide(self, seen: Seen) -> int:
        """Apply the rule above."""
        if seen.now - self.polled >= self.settings.polling:
            self.polled = seen.now
            queued = seen.load.in_flight + seen.load.waiting > 0
            self.active = seen.now if queued else self.active
            if not seen.target:
                return clamp(int(queued), self.parameters)
            if seen.now - self.active >= self.settings.cooldown and not self.parameters.minReplicas:
                return 0
        return self.hpa.decide(seen) if seen.target else 0

"""Readings of a load, and a deployment in virtual time that does what the policy decides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.policy import Decision, decide
from llama_operator.plan.autoscaling.situation import RuleNeed
from llama_operator.plan.autoscaling.state import DurableState, PolicyState

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIMITS = Limits(floor=1, ceiling=20, slots=8, start=60.0)
SERVICE = 8.0  # seconds of a slot
ANSWER = 200  # tokens


def reading(*, arrived: int = 0, in_flight: int = 0, waiting: int = 0, served: int = 0, known: bool = True) -> Load:
    """One second of a load whose requests take SERVICE seconds and get ANSWER tokens."""
    return Load(
        known=known,
        span=1.0,
        waiting=waiting,
        oldest_wait=float(waiting > 0),
        in_flight=in_flight,
        waiting_answer_tokens=waiting * ANSWER,
        arrived=arrived,
        served=served,
        served_answer_tokens=served * ANSWER,
        served_seconds=served * SERVICE,
    )


@dataclass
class Bed:
    """Requests are a fluid here: the same load always gives the same readings. One group more takes ``start``."""

    limits: Limits = LIMITS
    state: PolicyState = field(default_factory=PolicyState)
    start: float = 60.0
    rolling: bool = False
    room: int = 1000  # groups that find room
    rule: RuleNeed | None = None
    waiting: float = 0.0
    in_flight: float = 0.0
    serving: int = 0
    made: list[float] = field(default_factory=list)  # when each starting group was made
    time: float = 0.0
    now: Callable[[float], datetime] = lambda seconds: NOW + timedelta(seconds=seconds)
    owed: float = 0.0  # parts of a request
    done: float = 0.0

    @classmethod
    def running(cls, groups: int, **fields: object) -> "Bed":
        """With so many groups that serve."""
        return cls(state=PolicyState(DurableState(target=groups)), serving=groups, **fields)  # type: ignore[arg-type]

    def second(self, rate: float, *, known: bool = True) -> Decision:
        """One second passes, one decision is made and done."""
        self.time += 1
        self.owed += rate
        arrived = int(self.owed)
        self.owed -= arrived
        served = self._serve(arrived)
        load = reading(
            arrived=arrived, in_flight=round(self.in_flight), waiting=round(self.waiting), served=served, known=known
        )
        decision = decide(
            load, self._groups(), state=self.state, limits=self.limits, now=self.now(self.time), rule=self.rule
        )
        self.state = decision.state
        self._do(decision.target)
        return decision

    def run(self, rate: float, seconds: int, *, known: bool = True) -> list[Decision]:
        """That many seconds of a constant load."""
        return [self.second(rate, known=known) for _ in range(seconds)]

    def _serve(self, arrived: int) -> int:
        done = self.in_flight / SERVICE
        self.in_flight -= done
        self.done += done
        served = int(self.done)
        self.done -= served
        self.waiting += arrived
        begun = min(self.waiting, max(0.0, self.serving * self.limits.slots - self.in_flight))
        self.waiting, self.in_flight = self.waiting - begun, self.in_flight + begun
        return served

    def _groups(self) -> GroupCounts:
        ready = [moment for moment in self.made if self.time - moment >= self.start]
        self.made = [moment for moment in self.made if self.time - moment < self.start]
        self.serving += len(ready)
        held = max(0, self.serving + len(self.made) - self.room)
        starting = self.made[: len(self.made) - held]
        return GroupCounts(self.serving, tuple(self.time - moment for moment in starting), held, rolling=self.rolling)

    def _do(self, target: int) -> None:
        while self.serving + len(self.made) < target:
            self.made.append(self.time)
        while self.serving + len(self.made) > target:
            if self.made:
                self.made.pop()
            else:
                self.serving -= 1


def changes(decisions: list[Decision], first: int) -> Iterator[tuple[int, int]]:
    """Seconds at which the target changed, and by how much."""
    before = first
    for second, decision in enumerate(decisions):
        if decision.target != before:
            yield second, decision.target - before
        before = decision.target


def restarted(bed: Bed) -> None:
    """The operator starts anew: what is in the status is left."""
    bed.state = PolicyState(bed.state.durable)


def within(limits: Limits, **fields: object) -> Limits:
    """The limits with others in it."""
    return replace(limits, **fields)  # type: ignore[arg-type]

"""How many groups: ``decide(load, groups, state, limits, now)``, pure; the same code runs in the operator and in replay.

(The rule and its formulas stand here; written by helper P.)
"""

from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.plan.load import Load


@dataclass(frozen=True)
class Groups:
    """The groups as they were seen. Each is in exactly one of these."""

    serving: int = 0  # get requests
    starting: tuple[float, ...] = ()  # on their way, room was found for them: seconds since they were made
    held: int = 0  # made, and no room for them: they neither count as starting nor against the limits for ever
    leaving: int = 0  # drain, and could be taken back at once
    rolling: bool = False  # a rollout is under way: nothing is scaled down


@dataclass(frozen=True)
class Limits:
    """What bounds a decision; ``floor`` already has what a schedule asks for at this moment. Times in seconds."""

    floor: int
    ceiling: int
    slots: int  # requests that a group runs at once
    wait: float = 5.0  # a request shall not wait longer than this
    in_flight: int | None = None  # wanted requests in flight per group; None: what the wait allows
    stable: float | None = None  # stable window; None: from the time that a start takes
    panic: float | None = None  # panic window; None: from the stable one
    cooldown: float | None = None  # between a change and a scale-down; None: from the time that a start takes
    idle_after: float = 600.0  # without any request, before the last group goes; needs floor 0
    step: int | None = None  # groups that one decision adds at most; None: as many as there are, at least 4
    start: float = 120.0  # time that a start takes before one was measured


@dataclass(frozen=True)
class Kept:
    """The part of the state that must survive a restart: it is in the object's status, and changes with decisions."""

    target: int | None = None  # None: nothing was decided yet
    raised: datetime | None = None  # when the target was last raised
    lowered: datetime | None = None
    starts: tuple[float, ...] = ()  # seconds that past starts took, the latest last
    seconds_per_token: float | None = None  # of a slot, as last measured


@dataclass(frozen=True)
class State:
    """What a decision leaves to the next. A fresh one with the same ``kept`` never changes the target by itself."""

    kept: Kept = Kept()
    # windows: helper P's


@dataclass(frozen=True)
class Decision:
    """The target, why, and what the next decision needs."""

    target: int
    state: State
    reason: str  # a word of plan/reasons.py or of its own enum
    message: str  # one sentence with numbers
    detail: dict[str, float] = field(default_factory=dict)  # the figures behind it, for metrics and replay

"""How many groups: ``decide(load, groups, state, limits, now)``, pure; the same code in the operator and in replay.

The horizon h is the time that a start takes: p90 of those measured, ``Limits.start`` before. From it follow the
windows (see ``windows_of``) and from those what is needed (plan/demand.py):

    up      to the most of: what the load takes that is certain, or will be certain within h (plan/forecast.py);
            what the queue takes that will be left in h when all that is starting has come (plan/sizing.py)
    down    by one group, when for ``keep`` seconds fewer were likely to be needed, ``cooldown`` seconds after the last
            raise and a part of it after the last scale-down; to zero after ``idle_after`` seconds without a request

The target counts groups, those that start included, so nothing is ordered twice. A raise adds ``step`` groups at most
and the next comes a quarter of h later (at most the wait limit): what is ordered shows in the readings first. While a
group is held for want of room no further one is asked for. Nothing goes down on a reading that is a lower bound, in a
rollout, or before the windows are full, as after a restart. Time is what readings span; ``now`` is only noted.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil

from llama_operator.plan.autoscaling import demand
from llama_operator.plan.autoscaling.demand import DemandHistory, Needs, Windows
from llama_operator.plan.autoscaling.load import Load
from llama_serving.config.reasons import ScaleReason

SHORTEST_KEEP, LONGEST_KEEP = 15.0, 900.0  # seconds
SHORTEST_STABLE, LONGEST_STABLE = 600.0, 1800.0  # seconds
LEAST_STEP = 4  # groups
KEPT_STARTS = 20
SPEED_CHANGE = 0.1  # a measured speed that differs by less is not noted anew


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

    @property
    def in_group(self) -> int:
        """Requests that a group is to have at once."""
        return max(1, min(self.slots, self.in_flight or self.slots))


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
    memory: DemandHistory = field(default_factory=DemandHistory)  # volatile

    def with_starts(self, seconds: tuple[float, ...]) -> "State":
        """The same with starts that have ended since; the last KEPT_STARTS are kept."""
        if not seconds:
            return self
        return replace(self, kept=replace(self.kept, starts=(*self.kept.starts, *seconds)[-KEPT_STARTS:]))


@dataclass(frozen=True)
class Decision:
    """The target, why, and what the next decision needs."""

    target: int
    state: State
    reason: str  # a ScaleReason
    message: str  # one sentence; with figures of the load only when the target changes
    detail: dict[str, float] = field(default_factory=dict)  # the figures behind it, for metrics and replay


def decide(load: Load, groups: Groups, state: State, limits: Limits, now: datetime) -> Decision:
    """How many groups there shall be after this reading."""
    windows = windows_of(limits, state.kept)
    memory = demand.learned(state.memory, load, windows)
    due = tuple(_due(age, windows.horizon) for age in groups.starting)
    needs = demand.needs(
        state.memory, memory, load, windows=windows, slots=limits.in_group, most=limits.ceiling + 1,
        speed=state.kept.seconds_per_token, serving=groups.serving, due=due,
    )  # fmt: skip
    if load.known and load.span > 0:
        memory = demand.watched(memory, needs.hold, load.span, windows.keep)
    case = _Case(load, groups, limits, windows, memory, needs, state.kept.target)
    target, word = _target(case)
    kept, memory = _noted(state.kept, memory, target, now)
    return Decision(target, State(kept, memory), word, _sentence(case, target, word), _figures(case))


def windows_of(limits: Limits, kept: Kept) -> Windows:
    """The windows that are asked for; the others from the time that a start takes. Seconds.

    A group let go and needed again costs a start, in its devices' time and in requests that wait for it: so it is kept
    for about as long as a start takes after it was last needed (the ski rental's rule: never more than twice the cost
    of knowing). A group ordered serves after a start, so what is over in a small part of that is no reason for one:
    the shortest window is a quarter of it. Who asks for a stable window says how long ago a load is gone: that is kept.
    """
    horizon = horizon_of(limits, kept)
    keep = limits.stable or min(LONGEST_KEEP, max(SHORTEST_KEEP, horizon))
    stable = limits.stable or min(LONGEST_STABLE, max(SHORTEST_STABLE, 4 * horizon))
    return Windows(
        horizon=horizon,
        stable=stable,
        panic=limits.panic or min(stable, max(2 * limits.wait, horizon / 4)),
        keep=keep,
        cooldown=keep if limits.cooldown is None else limits.cooldown,
        wait=limits.wait,
    )


def horizon_of(limits: Limits, kept: Kept) -> float:
    """Seconds that a start takes: p90 of those measured."""
    if not kept.starts:
        return max(1.0, limits.start)
    ordered = sorted(kept.starts)
    return max(1.0, ordered[ceil(0.9 * len(ordered)) - 1])


@dataclass(frozen=True)
class _Case:
    """Everything that a target is chosen from."""

    load: Load
    groups: Groups
    limits: Limits
    windows: Windows
    memory: DemandHistory
    needs: Needs
    before: int | None

    @property
    def target(self) -> int:
        """The target so far."""
        return self.limits.floor if self.before is None else self.before

    @property
    def wanted(self) -> int:
        """Groups that a raise would go to, limits aside."""
        if not self.target and not self.load.waiting:
            return 0  # what came before the last group went is no reason for a new one
        return max(self.needs.now, self.needs.later, self.needs.queue, 0 if self.target else 1)

    @property
    def enough(self) -> int:
        """Groups that a scale-down would go to in the end, limits aside.

        Load that is gone for ``keep`` is gone, however unevenly it came before.
        """
        held = demand.held(self.memory) if self.memory.quiet < self.windows.keep else 0
        most = max(held, self.target if self.load.waiting else 0)
        return 0 if most <= 1 and self.memory.quiet >= self.limits.idle_after else max(1, most)


def _due(age: float, horizon: float) -> float:
    """Seconds until a starting group serves; one that takes longer than most did is expected a tenth later."""
    return max(horizon - age, horizon / 10)


def _target(case: _Case) -> tuple[int, ScaleReason]:
    low, high = case.limits.floor, case.limits.ceiling
    if case.target < low:
        return low, ScaleReason.AT_MINIMUM
    if case.target > high:
        return high, ScaleReason.AT_MAXIMUM
    if min(case.wanted, high) > case.target:
        return _raised(case)
    return _lowered(case) if max(case.enough, low) < case.target else (case.target, _steady(case))


def _raised(case: _Case) -> tuple[int, ScaleReason]:
    if case.groups.held:
        return case.target, ScaleReason.NO_ROOM
    pause = min(case.windows.wait, case.windows.horizon / 4)
    if case.memory.raised < pause and case.target:
        return case.target, ScaleReason.WARMING_UP
    step = case.limits.step or max(LEAST_STEP, case.target)
    target = min(case.wanted, case.limits.ceiling, case.target + step)
    if not case.target:
        return target, ScaleReason.FIRST_REQUEST
    by_queue = case.needs.queue >= max(case.needs.now, case.needs.later)
    return target, ScaleReason.REQUESTS_WAIT if by_queue else ScaleReason.FORECAST


def _lowered(case: _Case) -> tuple[int, ScaleReason]:
    """One group less, or what is in the way of it. The more are too many, the shorter the pause between two."""
    memory, windows = case.memory, case.windows
    spare = case.target - max(case.enough, case.limits.floor)
    if not case.load.known:
        return case.target, ScaleReason.UNKNOWN
    if case.groups.rolling:
        return case.target, ScaleReason.ROLLING_OUT
    if memory.age < max(windows.keep, windows.cooldown):
        return case.target, ScaleReason.MEASURING
    if memory.raised < windows.cooldown or memory.lowered < windows.cooldown / (4 * spare):
        return case.target, ScaleReason.COOLDOWN
    return case.target - 1, ScaleReason.LESS_LOAD if case.target > 1 else ScaleReason.IDLE


def _steady(case: _Case) -> ScaleReason:
    if not case.load.known:
        return ScaleReason.UNKNOWN
    if case.groups.held:
        return ScaleReason.NO_ROOM
    if case.enough > case.limits.ceiling:
        return ScaleReason.AT_MAXIMUM
    if not case.target:
        return ScaleReason.IDLE
    return ScaleReason.WARMING_UP if case.groups.starting else ScaleReason.HOLDS_LOAD


def _noted(kept: Kept, memory: DemandHistory, target: int, now: datetime) -> tuple[Kept, DemandHistory]:
    speed, before = demand.seconds_per_token(memory), kept.seconds_per_token
    if speed is not None and (before is None or abs(speed - before) > SPEED_CHANGE * before):
        kept = replace(kept, seconds_per_token=speed)
    if kept.target is None or target == kept.target:
        return replace(kept, target=target) if kept.target is None else kept, memory
    if target > kept.target:
        return replace(kept, target=target, raised=now), replace(memory, raised=0.0)
    return replace(kept, target=target, lowered=now), replace(memory, lowered=0.0)


def _figures(case: _Case) -> dict[str, float]:
    needs = case.needs
    return {
        "inFlight": case.load.in_flight,
        "waiting": case.load.waiting,
        "waitingSeconds": round(needs.waiting, 1),
        "slotsTaken": round(needs.work, 1),
        "burst": round(needs.burst, 1),
        "requestSeconds": round(needs.service, 2),
        "startSeconds": round(case.windows.horizon, 1),
        "neededNow": needs.now,
        "neededLater": needs.later,
        "neededByQueue": needs.queue,
        "enough": case.enough,
    }


def _sentence(case: _Case, target: int, word: ScaleReason) -> str:
    return _changed(case, target, word) if target != case.before else _unchanged(case, word)


def _changed(case: _Case, target: int, word: ScaleReason) -> str:
    limits, needs, load = case.limits, case.needs, case.load
    starts = f"starts in {case.windows.horizon:.0f} s"
    work = f" (about {needs.waiting:.0f} s of work)" if needs.waiting else ""
    match word:
        case ScaleReason.AT_MINIMUM:
            return f"{_groups(target)}: minReplicas or a schedule asks for at least {limits.floor}"
        case ScaleReason.AT_MAXIMUM:
            return f"{_groups(target)}: maxReplicas allows {limits.ceiling}"
        case ScaleReason.IDLE:
            return f"0 groups: no request for {case.memory.quiet:.0f} s, idleAfterSeconds is {limits.idle_after:.0f}"
        case ScaleReason.LESS_LOAD:
            return (
                f"{_groups(target)} instead of {case.target}: no more than {case.enough} were needed within the last "
                f"{case.windows.keep:.0f} s; {load.in_flight} requests in flight, {load.waiting} waiting"
            )
        case ScaleReason.FORECAST:
            return (
                f"{_groups(target)} for about {needs.work:.0f} requests at a time within {case.windows.horizon:.0f} s, "
                f"now {load.in_flight} in flight and {load.waiting} waiting; a group holds {limits.in_group}, {starts}"
            )
        case _:
            return (
                f"{_groups(target)} for {load.in_flight} requests in flight and {load.waiting} waiting"
                f"{work}; a group holds {limits.in_group} at a time, {starts}"
            )


def _unchanged(case: _Case, word: ScaleReason) -> str:
    groups, windows = _groups(case.target), case.windows
    said = {
        ScaleReason.NO_ROOM: f"{groups}: {case.groups.held} of them wait for room, so no further one is asked for",
        ScaleReason.AT_MAXIMUM: f"{groups}, as many as maxReplicas allows; the load takes more",
        ScaleReason.WARMING_UP: f"{groups}, some of them starting; a start takes {windows.horizon:.0f} s",
        ScaleReason.COOLDOWN: f"{groups}: fewer would do; one goes {windows.cooldown:.0f} s after the last raise",
        ScaleReason.MEASURING: f"{groups}: fewer may do; known when the load was seen for {windows.keep:.0f} s",
        ScaleReason.UNKNOWN: f"{groups}, none goes: no answer from {', '.join(case.load.silent) or 'a gateway'}",
        ScaleReason.ROLLING_OUT: f"{groups}: fewer would do; none goes before the rollout has ended",
        ScaleReason.IDLE: "0 groups: no request waits; the first one starts a group",
    }
    return said.get(word, f"{groups} hold the load; a group holds {case.limits.in_group} requests at a time")


def _groups(number: int) -> str:
    return f"{number} group" if number == 1 else f"{number} groups"

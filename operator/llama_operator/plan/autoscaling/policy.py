"""How many groups there shall be: ``decide(load, groups, state=..., limits=..., now=...)``.

The function is pure, and the same in the operator and in replay. With h, the time that a start takes (windows.py):

    up      to the most of: what the load takes that is certain, or will be certain within h (forecast.py);
            what the queue takes that will be left in h when all that is starting has come (sizing.py)
    down    by one group, when for ``keep`` seconds fewer were likely to be needed, ``cooldown`` seconds after the last
            raise and a part of it after the last scale-down; to zero after ``idle_after`` seconds without a request,
            if nobody is owed an answer (owed.py)

The target counts groups, those that start included, so nothing is ordered twice. A raise adds ``step`` groups at most
and the next comes a quarter of h later (at most the wait limit): what is ordered shows in the readings first. While a
group waits for capacity no further one is ordered. Nothing is scaled down on a reading that is a lower bound, in a
rollout, or before the windows are full, as after a restart. Time is what readings span; ``now`` is only noted.

The rule is ``_target`` and the three functions below it. Each gives the target and the reason for it.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from llama_operator.plan.autoscaling.formula import demand
from llama_operator.plan.autoscaling.formula.windows import windows_for
from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.messages import message_for
from llama_operator.plan.autoscaling.owed import next_start, owed_after, starts_in_vain
from llama_operator.plan.autoscaling.situation import RuleNeed, Situation
from llama_operator.plan.autoscaling.state import DurableState, PolicyState
from llama_serving.config.reasons import ScaleReason

LEAST_STEP = 4  # groups
PACE = 60  # groups that go within a start's time, when a rule lets them go
SPEED_CHANGE = 0.1  # a measured speed that differs by less is not noted anew


@dataclass(frozen=True)
class Decision:
    """The target, why, and what the next decision needs."""

    target: int
    state: PolicyState
    reason: str  # a ScaleReason
    message: str  # one sentence; with figures of the load only when the target changes
    detail: dict[str, float] = field(default_factory=dict)  # the figures behind it, for metrics and replay
    next_serves: float = 0.0  # seconds until a group that starts, or the next one that would, is expected to serve


def decide(
    load: Load, groups: GroupCounts, *, state: PolicyState, limits: Limits, now: datetime, rule: RuleNeed | None = None
) -> Decision:
    """Decide how many groups there shall be after this reading. ``rule``: what counts in the place of the formula."""
    windows = windows_for(limits, state.durable.starts)
    history = demand.history_after(state.history, load, windows)
    due = tuple(_seconds_left(age, windows.horizon) for age in groups.starting)
    supply = demand.Supply(
        slots=limits.in_group, most=limits.ceiling + 1, serving=groups.serving, due=due, late=limits.late
    )
    speed = state.durable.seconds_per_token
    needs = demand.needs(state.history, history, load, windows=windows, supply=supply, speed=speed)
    if load.known and load.span > 0:
        history = demand.with_peak(history, needs.likely, span=load.span, keep=windows.keep)
    owed = owed_after(state.owed or state.durable.owed.restored(now), load, serving=groups.serving)
    again = next_start(state.durable.failed_starts, state.durable.gave_up)
    seen = Situation(
        load, groups, limits, windows, history, needs, state.durable.target, owed,
        failed_starts=state.durable.failed_starts, not_before=again, paused=again is not None and now < again,
        rule=rule,
    )  # fmt: skip
    target, reason = _target(seen)
    gave_up = now if seen.target and reason is ScaleReason.START_FAILED else None
    remembered = state.durable.owed.updated(owed, serving=groups.serving, now=now)
    durable = replace(_with_starts(state.durable, seen, gave_up), owed=remembered)
    after = _noted(PolicyState(durable, history, owed), target, now)
    paused = (again - now).total_seconds() if again and now < again and not groups.starting else 0.0
    next_serves = paused + min(due, default=windows.horizon)
    return Decision(target, after, reason, message_for(seen, target, reason), seen.figures(), next_serves)


def _target(seen: Situation) -> tuple[int, ScaleReason]:
    """First the limits, then a raise, then a scale-down; else the target stays."""
    low, high = seen.limits.floor, seen.limits.ceiling
    if seen.target < low:
        return low, ScaleReason.AT_MINIMUM
    if seen.target > high:
        return high, ScaleReason.AT_MAXIMUM
    if seen.target and starts_in_vain(seen.groups, seen.limits):
        return 0, ScaleReason.START_FAILED
    if min(seen.wanted, high) > seen.target:
        return _scale_up(seen)
    return _scale_down(seen) if max(seen.enough, low) < seen.target else (seen.target, _steady(seen))


def _scale_up(seen: Situation) -> tuple[int, ScaleReason]:
    if seen.groups.held:
        return seen.target, ScaleReason.NO_ROOM
    if not seen.target and seen.paused:
        return 0, ScaleReason.START_FAILED
    pause = min(seen.windows.wait, seen.windows.horizon / 4)
    if seen.history.raised < pause and seen.target:
        return seen.target, ScaleReason.WARMING_UP
    step = seen.limits.step or max(LEAST_STEP, seen.target)
    target = min(seen.wanted, seen.limits.ceiling, seen.target + step)
    if not seen.target:
        return target, ScaleReason.FIRST_REQUEST
    if seen.rule and seen.ruled >= seen.wanted:
        return target, ScaleReason.RULE
    by_queue = seen.needs.queue >= max(seen.needs.now, seen.needs.later)
    return target, ScaleReason.REQUESTS_WAIT if by_queue else ScaleReason.FORECAST


def _scale_down(seen: Situation) -> tuple[int, ScaleReason]:
    """Remove one group, or name what prevents it. The more are too many, the shorter the pause between two."""
    history, windows = seen.history, seen.windows
    spare = seen.target - max(seen.enough, seen.limits.floor)
    if not seen.load.known:
        return seen.target, ScaleReason.UNKNOWN
    if seen.groups.rolling:
        return seen.target, ScaleReason.ROLLING_OUT
    if seen.owed.holds and (seen.target == 1 or not (seen.groups.serving and seen.owed.answering)):
        return seen.target, ScaleReason.AWAITS_RETURN
    if history.age < max(windows.keep, windows.cooldown):
        return seen.target, ScaleReason.MEASURING
    if not seen.by_formula:  # the rule has kept the groups for as long as it does
        if history.lowered < windows.horizon / PACE:
            return seen.target, ScaleReason.COOLDOWN
    elif history.raised < windows.cooldown or history.lowered < windows.cooldown / (4 * spare):
        return seen.target, ScaleReason.COOLDOWN
    return seen.target - 1, ScaleReason.LESS_LOAD if seen.target > 1 else ScaleReason.IDLE


def _steady(seen: Situation) -> ScaleReason:
    if not seen.load.known:
        return ScaleReason.UNKNOWN
    if seen.groups.held:
        return ScaleReason.NO_ROOM
    if seen.enough > seen.limits.ceiling:
        return ScaleReason.AT_MAXIMUM
    if not seen.target:
        return ScaleReason.START_FAILED if seen.failed_starts else ScaleReason.IDLE
    return ScaleReason.WARMING_UP if seen.groups.starting else ScaleReason.HOLDS_LOAD


def _seconds_left(age: float, horizon: float) -> float:
    """Estimate when a starting group serves; one that takes longer than most did is expected a tenth later."""
    return max(horizon - age, horizon / 10)


def _noted(state: PolicyState, target: int, now: datetime) -> PolicyState:
    """Note the measured speed, the target, and when it was raised or lowered."""
    durable, history = _with_speed(state), state.history
    if durable.target is None or target == durable.target:
        return replace(state, durable=replace(durable, target=target) if durable.target is None else durable)
    if target > durable.target:
        return PolicyState(replace(durable, target=target, raised=now), replace(history, raised=0.0), state.owed)
    return PolicyState(replace(durable, target=target, lowered=now), replace(history, lowered=0.0), state.owed)


def _with_starts(durable: DurableState, seen: Situation, gave_up: datetime | None) -> DurableState:
    """Note the starts that were given up: forgotten when a group serves."""
    if seen.groups.serving:
        return replace(durable, failed_starts=0, gave_up=None)
    if gave_up:
        return replace(durable, failed_starts=durable.failed_starts + 1, gave_up=gave_up)
    return durable


def _with_speed(state: PolicyState) -> DurableState:
    speed, before = demand.seconds_per_token(state.history), state.durable.seconds_per_token
    if speed is not None and (before is None or abs(speed - before) > SPEED_CHANGE * before):
        return replace(state.durable, seconds_per_token=speed)
    return state.durable

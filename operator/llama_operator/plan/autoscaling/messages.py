"""The sentence of a decision: why the target changed, or why it stays.

A sentence about a target that stays has no figures of the load in it: it would change the status in every pass.
"""

from datetime import datetime

from llama_operator.plan.autoscaling.owed import FIRST_PAUSE, LONGEST_PAUSE
from llama_operator.plan.autoscaling.situation import RuleNeed, Situation
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.reasons import ScaleReason
from llama_serving.config.wording import plural


def message_for(seen: Situation, target: int, reason: ScaleReason) -> str:
    """Write one clause without a full stop."""
    if target == seen.before:
        return _unchanged(seen, reason)
    rule = seen.rule
    down = rule and reason is ScaleReason.LESS_LOAD and not rule.with_formula and rule.groups <= seen.enough
    if rule and (down or reason is ScaleReason.RULE):
        return _by_rule(seen, rule, target)
    return _changed(seen, target, reason)


def start_failed(times: int, *, seconds: float, pause: float) -> str:
    """Say that a start was given up, and when the next one may come."""
    return (
        f"0 groups: a group that started for a request did not serve within {seconds:.0f} s, {times} in a row; the"
        f" next request starts another one in {pause:.0f} s at the earliest"
    )


def no_start_yet(times: int, *, at: datetime | None) -> str:
    """Say that starts for requests failed, and from when on the next one may come; empty where none did."""
    if at is None:
        return ""
    return (
        f"0 groups: {plural(times, 'start')} for a request in a row did not come to serve; a request starts the next"
        f" one from {at:%Y-%m-%d %H:%M:%S} UTC on"
    )


def _by_rule(seen: Situation, rule: RuleNeed, target: int) -> str:
    return (
        f"{plural(target, 'group')} instead of {seen.target}: the rule that is followed ({rule.rule}) asks for"
        f" {rule.groups}; {seen.load.in_flight} requests in flight, {seen.load.waiting} waiting, a group holds"
        f" {seen.limits.in_group} and starts in {seen.windows.horizon:.0f} s"
    )


def _changed(seen: Situation, target: int, reason: ScaleReason) -> str:
    limits, needs, load = seen.limits, seen.needs, seen.load
    groups = plural(target, "group")
    starts = f"starts in {seen.windows.horizon:.0f} s"
    work = f" (about {needs.waiting:.0f} s of work)" if needs.waiting else ""
    match reason:
        case ScaleReason.AT_MINIMUM:
            return f"{groups}: minReplicas or a schedule asks for at least {limits.floor}"
        case ScaleReason.AT_MAXIMUM:
            return f"{groups}: maxReplicas allows {limits.ceiling}"
        case ScaleReason.IDLE:
            return f"0 groups: no request for {seen.history.quiet:.0f} s, idleAfterSeconds is {limits.idle_after:.0f}"
        case ScaleReason.START_FAILED:
            return start_failed(
                seen.failed_starts + 1,
                seconds=max(seen.groups.starting),
                pause=doubling_pause(seen.failed_starts + 1, first=FIRST_PAUSE, longest=LONGEST_PAUSE),
            )
        case ScaleReason.LESS_LOAD:
            return (
                f"{groups} instead of {seen.target}: no more than {seen.enough} were needed within the last "
                f"{seen.windows.keep:.0f} s; {load.in_flight} requests in flight, {load.waiting} waiting"
            )
        case ScaleReason.FORECAST:
            return (
                f"{groups} for about {needs.work:.0f} requests at a time within {seen.windows.horizon:.0f} s, "
                f"now {load.in_flight} in flight and {load.waiting} waiting; a group holds {limits.in_group}, {starts}"
            )
        case _:
            return (
                f"{groups} for {load.in_flight} requests in flight and {load.waiting} waiting"
                f"{work}; a group holds {limits.in_group} at a time, {starts}"
            )


def _unchanged(seen: Situation, reason: ScaleReason) -> str:
    groups, windows = plural(seen.target, "group"), seen.windows
    possible = f"{groups}; scale-down possible"
    silent = ", ".join(seen.load.silent) or "a gateway"
    messages = {
        ScaleReason.NO_ROOM: f"{groups}: {seen.groups.held} of them wait for capacity, so no further one is created",
        ScaleReason.AT_MAXIMUM: f"{groups}, as many as maxReplicas allows; the load takes more",
        ScaleReason.WARMING_UP: f"{groups}, some of them starting; a start takes {windows.horizon:.0f} s",
        ScaleReason.COOLDOWN: (
            f"{possible}, cooldown {windows.cooldown:.0f} s after the last scale-up"
            if seen.by_formula
            else f"{possible}, one group at a time"
        ),
        ScaleReason.MEASURING: f"{groups}; scale-down needs the load of {windows.keep:.0f} s",
        ScaleReason.UNKNOWN: f"{groups}; no scale-down without an answer from {silent}",
        ScaleReason.ROLLING_OUT: f"{possible}, after the rollout",
        ScaleReason.AWAITS_RETURN: f"{groups}, kept for requests that left without an answer and may come back",
        ScaleReason.START_FAILED: no_start_yet(seen.failed_starts, at=seen.not_before),
        ScaleReason.IDLE: "0 groups: no request waits; the first one starts a group",
    }
    return messages.get(reason, f"{groups} hold the load; a group holds {seen.limits.in_group} requests at a time")

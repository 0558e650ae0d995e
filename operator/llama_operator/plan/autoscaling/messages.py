"""The sentence of a decision: why the target changed, or why it stays.

A sentence about a target that stays has no figures of the load in it: it would change the status in every pass.
"""

from llama_operator.plan.autoscaling.situation import Situation
from llama_serving.config.reasons import ScaleReason
from llama_serving.config.wording import plural


def message_for(seen: Situation, target: int, reason: ScaleReason) -> str:
    """Write one clause without a full stop."""
    return _changed(seen, target, reason) if target != seen.before else _unchanged(seen, reason)


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
        ScaleReason.COOLDOWN: f"{possible}, cooldown {windows.cooldown:.0f} s after the last scale-up",
        ScaleReason.MEASURING: f"{groups}; scale-down needs the load of {windows.keep:.0f} s",
        ScaleReason.UNKNOWN: f"{groups}; no scale-down without an answer from {silent}",
        ScaleReason.ROLLING_OUT: f"{possible}, after the rollout",
        ScaleReason.IDLE: "0 groups: no request waits; the first one starts a group",
    }
    return messages.get(reason, f"{groups} hold the load; a group holds {seen.limits.in_group} requests at a time")

"""Sentences about the rule that autoscaling follows, and about the promise that it looks after."""


def rule_followed(
    rule: str, *, seconds: float, share: float, groups: float, formula_share: float | None, formula_groups: float
) -> str:  # fmt: skip
    past = f"{seconds / 3600:.0f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"
    said = f"{rule}: with the load of about the last {past} {100 * share:.1f} % in time, now with {groups:.1f} groups"
    if formula_share is None:
        return said
    return f"{said}; the formula {100 * formula_share:.1f} %, now with {formula_groups:.1f}"


def promise_costs(said: str, *, share: float, wait: float, more: float, gpus: int, start: float) -> str:
    return (
        f"{said}; {100 * share:g} % within {wait:g} s take {more:.1f} groups more ({more * gpus:.0f} devices) with"
        f" starts of {start:.0f} s: target.prefer share orders them"
    )


def promise_beyond_reach(said: str, *, share: float, wait: float, start: float) -> str:
    return (
        f"{said}; no rule that is known would have had {100 * share:g} % within {wait:g} s: starts take {start:.0f} s,"
        " and maxReplicas or the load's bursts allow no more"
    )

"""How long a group takes to change, by what was measured of the groups that are there."""

from llama_operator.plan.groups.group import Group


def measured_seconds(strategy: str, groups: tuple[Group, ...]) -> float | None:
    """Return the longest of one group: swap and verification, or start; None before anything was measured."""
    states = [group.state for group in groups if group.state]
    if strategy == "inPlace":
        swaps = [state.swap.seconds for state in states if state.swap and state.swap.outcome == "done"]
        checks = [state.measurement.seconds for state in states if state.measurement]
        return max(swaps) + max(checks, default=0) if swaps else None
    starts = [sum(state.timings.values()) for state in states if state.timings]
    return max(starts) if starts else None

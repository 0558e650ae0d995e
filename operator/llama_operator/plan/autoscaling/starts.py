"""How long a start of a group takes: measured, and estimated before that.

    start = START + bytes of a stage's weights / SPEED         until one was measured

A start is measured from the group's last pod placed to its leader in rotation; only of groups that this process saw
starting, once, and none of whose engines had to be started again.
"""

from collections.abc import Iterable

from llama_operator.observe.deployment import WeightsView
from llama_operator.plan.groups.group import Group

START = 60.0  # seconds: image, processes, the engine's own preparation
SPEED = 500e6  # bytes per second into a stage, where nothing was measured


def expected_start(weights: WeightsView | None, stages: int) -> float:
    """Estimate the seconds of a start from the size of the weights, which are split over the stages."""
    size = weights.facts.bytes if weights and weights.facts else 0
    return START + size / stages / SPEED


def new_leaders(groups: Iterable[Group]) -> frozenset[str]:
    """List the uids of the leaders that have had no request yet."""
    leaders = (group.leader for group in groups if group.leader)
    return frozenset(pod.uid for pod in leaders if pod.alive and pod.in_rotation is None)


def measured_starts(groups: Iterable[Group], new: frozenset[str]) -> tuple[float, ...]:
    """Measure the seconds of the starts that have ended since the pass before. ``new``: its ``new_leaders``."""
    found = []
    for group in groups:
        leader = group.leader
        if leader is None or leader.uid not in new or not group.serving or any(pod.restarts for pod in group.pods):
            continue
        placed = max(pod.bound or pod.admitted or pod.created for pod in group.pods)
        if leader.rotation_since and leader.rotation_since >= placed:
            found.append((leader.rotation_since - placed).total_seconds())
    return tuple(found)

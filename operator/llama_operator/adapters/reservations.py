"""Capacity that was given to a group and that the view of the cluster does not show yet.

A pod whose gate was removed counts as one that the scheduler is about to place, from the decision on: so two groups
never get the same capacity, without a lock and without a look that is newer than the view. A reservation ends when the
view shows the pod without its gate, at the latest after LONGEST seconds (the write failed, or the pod is gone).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from llama_operator.ports import Capacity, PodRequest

LONGEST = 60.0  # seconds


class Reservations:
    """Pods that were let to the scheduler, by uid, each with the time of the decision."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, tuple[PodRequest, float]] = {}

    def add(self, pods: Iterable[PodRequest]) -> None:
        """Hold the capacity for these pods."""
        now = self._clock()
        self._held |= {pod.uid: (replace(pod, gated=False), now) for pod in pods}

    def drop(self, uids: Collection[str]) -> None:
        """Give the capacity of these pods back."""
        for uid in uids:
            self._held.pop(uid, None)

    def over(self, seen: Capacity) -> Capacity:
        """Return the capacity with the reserved pods as pods that wait for the scheduler."""
        if not self._held:
            return seen
        gated = {pod.uid for pod in seen.waiting if pod.gated}
        self._forget(seen, gated)
        others = tuple(pod for pod in seen.waiting if pod.uid not in self._held)
        return replace(seen, waiting=others + tuple(pod for pod, _ in self._held.values()))

    def _forget(self, seen: Capacity, gated: Collection[str]) -> None:
        known = {pod.uid for pod in seen.waiting} | {pod.uid for node in seen.nodes for pod in node.pods}
        shown, old = known - set(gated), self._clock() - LONGEST
        self.drop([uid for uid, (_, at) in self._held.items() if uid in shown or at < old])

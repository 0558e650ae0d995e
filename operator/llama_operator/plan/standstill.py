"""Which waits need somebody, and since when nothing moved: what may be given up long before a start times out.

A group stands still when the reason why it does not start ends only by an act of somebody (``LIMITS``), and none of
its pods has changed since. Each reason has its own limit, counted from the last change: a pod that was created,
admitted, placed, or a container of it that started. An image that is still pulled, an engine that starts, a group that
waits for room: none of them stands still, however long it takes.

``standstill`` decides nothing. Whoever gives up asks it, and tells from when on it counts: the start of the rollout,
or of the object's first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from llama_operator.api.v1alpha1.status import RequeueState
from llama_operator.observe.pods import PodView
from llama_operator.plan.explain import explain_start
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.placement.gang import first_refused
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.plan.sentences import placement as sentences
from llama_serving.config.reasons import Reason

#: How long nothing may move before a group with this reason is given up. Other reasons end by themselves, or have
#: rules of their own (restarts, spec.startTimeoutSeconds). A registry, and a volume that is detached elsewhere, may
#: recover within a minute or two; an object that is refused or missing does not appear by itself.
LIMITS: Final[Mapping[Reason, timedelta]] = {
    Reason.API_REJECTED: timedelta(seconds=60),
    Reason.REFERENCE_MISSING: timedelta(seconds=60),
    Reason.VOLUME_UNAVAILABLE: timedelta(seconds=120),
    Reason.IMAGE_UNAVAILABLE: timedelta(seconds=120),
    Reason.CONTAINER_FAILING: timedelta(seconds=120),
    Reason.UNSCHEDULABLE: timedelta(seconds=90),
}

#: A group that was placed only in part is tried again; after so many tries others did not merely come first.
REQUEUES: Final = 2


@dataclass(frozen=True)
class Standstill:
    """A group that waits for somebody. ``limit``: how long nothing may move before it may be given up."""

    cause: Explanation
    since: datetime
    limit: timedelta

    def is_over(self, now: datetime) -> bool:
        """Return whether nothing has moved for the whole limit."""
        return now - self.since >= self.limit


def standstill(pods: tuple[PodView, ...], state: PlanState, *, group: str, since: datetime) -> Standstill | None:
    """Return why the group with these pods waits for somebody, and since when; None while something may still move.

    ``group`` is its name, which a group without pods has too; ``since`` the earliest moment that counts.
    """
    cause, moments = _cause(pods, state, group), [pod.moved for pod in pods if pod.moved]
    record = next((one for one in state.snapshot.status.requeues if one.group == group), None)
    if record is not None and record.times >= REQUEUES and cause is None:
        cause, moments = _requeued(record, pods), [first_refused(record)]
    if cause is None:
        return None
    return Standstill(cause, max([since, *moments]), LIMITS[cause.reason])


def _cause(pods: tuple[PodView, ...], state: PlanState, group: str) -> Explanation | None:
    """Return the first thing that is known against the pods, else that the API server refused one of them."""
    stuck = (_stuck(pod, state) for pod in pods)
    found = most_severe(tuple(one for one in stuck if one))
    return found or _refused(pods, state, group)


def _stuck(pod: PodView, state: PlanState) -> Explanation | None:
    """Say what is known against a pod. One that nobody promised room may wait for its turn; restarts are moves."""
    found = explain_start(pod, state.snapshot.capacity, state.now)
    if found is None or found.passing or found.reason not in LIMITS:
        return None
    waits_its_turn = found.reason is Reason.UNSCHEDULABLE and pod.admitted is None
    has_run = found.reason is Reason.CONTAINER_FAILING and (pod.restarts > 0 or pod.ended is not None)
    return None if waits_its_turn or has_run else found


def _refused(pods: tuple[PodView, ...], state: PlanState, group: str) -> Explanation | None:
    """Say that the last pass could not write something, where the group lacks a pod. A refusal is shown first."""
    status, stages = state.snapshot.status, state.spec.sharding.pipeline
    if status.reason != Reason.API_REJECTED or len(pods) >= stages:
        return None
    ordinal = next((one.ordinal for one in status.groups if one.name == group), None)
    return Explanation(Reason.API_REJECTED, status.message, pods[0].group if pods else ordinal)


def _requeued(record: RequeueState, pods: tuple[PodView, ...]) -> Explanation:
    text = sentences.group_never_placed(record.group, times=record.times)
    return Explanation(Reason.UNSCHEDULABLE, text, pods[0].group if pods else None)

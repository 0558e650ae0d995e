"""A group stands still when only somebody can end its wait, and since nothing of it has moved."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api.v1alpha1.status import RequeueState
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView, Waiting, pod_view
from llama_operator.plan.placement.gang import FIRST_PAUSE, HALF_PLACED_LIMIT
from llama_operator.plan.standstill import LIMITS, Standstill, standstill
from llama_serving.config import names
from llama_serving.config.reason_catalogue import CATALOGUE, Severity
from llama_serving.config.reasons import Reason
from tests.unit.operator.worlds import NEW, NOW, ago, stage, state_of, world

GROUP = f"chat-{NEW}-0"
NO_IMAGE = Waiting("stage", "ImagePullBackOff", "not found")


def found(*pods: PodView, since: float = 600, now: datetime = NOW, **fields: Any) -> Standstill | None:
    seen: Snapshot = replace(world(*pods), **fields)
    return standstill(pods, state_of(seen, now), group=GROUP, since=NOW - timedelta(seconds=since))


def waiting(number: int = 0, moved: float = 50, **fields: Any) -> PodView:
    return stage(0, number, phase="Pending", moved=ago(moved), **fields)


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (waiting(waiting=NO_IMAGE), Reason.IMAGE_UNAVAILABLE),
        (waiting(node="", unscheduled="0/2 nodes are available", admitted=ago(60)), Reason.UNSCHEDULABLE),
        (waiting(node="", unscheduled="0/2 nodes are available"), None),  # nobody said that it would fit
        (waiting(node="", unscheduled="0/2 nodes are available", admitted=ago(60), nominated=True), None),
        (waiting(waiting=Waiting("stage", "CrashLoopBackOff", ""), restarts=1), None),  # restarts are counted elsewhere
        (waiting(waiting=Waiting("stage", "CreateContainerError", "no")), Reason.CONTAINER_FAILING),
        (waiting(), None),
        (waiting(node="", gated=True), None),
        (stage(0, 0, moved=ago(50)), None),  # it runs
    ],
)
def test_which_waits_need_somebody(pod: PodView, reason: Reason | None) -> None:
    seen = found(pod)
    assert (seen.cause.reason if seen else None) == reason
    assert seen is None or (seen.since, seen.limit) == (ago(50), LIMITS[seen.cause.reason])


def test_nothing_counts_before_it_was_asked_for() -> None:
    seen = found(waiting(waiting=NO_IMAGE, moved=500), since=30)
    assert seen is not None
    assert seen.since == ago(30)


def test_another_pod_that_moves_is_a_move_of_the_group() -> None:
    seen = found(waiting(waiting=NO_IMAGE, moved=500), waiting(1, moved=20))
    assert seen is not None
    assert seen.since == ago(20)


@given(moved=st.integers(0, 600), later=st.integers(0, 600))
def test_it_is_over_exactly_when_its_limit_has_passed_without_a_move(moved: int, later: int) -> None:
    seen = found(waiting(waiting=NO_IMAGE, moved=moved))
    assert seen is not None
    now = NOW + timedelta(seconds=later)
    assert seen.is_over(now) == (moved + later >= seen.limit.total_seconds())


def test_what_may_end_by_itself_hides_nothing_that_needs_somebody() -> None:
    busy = Waiting("stage", "ErrImagePull", "429 Too Many Requests")
    assert found(waiting(waiting=busy)) is None
    seen = found(waiting(waiting=busy), waiting(1, waiting=NO_IMAGE))
    assert seen is not None
    assert "not found" in seen.cause.detail


def test_a_pod_that_the_api_server_refuses() -> None:
    status = replace_status(reason=Reason.API_REJECTED, message="Pod p was refused: exceeded quota")
    seen = found(since=70, status=status)
    assert seen is not None
    assert (seen.cause.reason, seen.cause.detail) == (Reason.API_REJECTED, "Pod p was refused: exceeded quota")
    assert seen.is_over(NOW)
    assert found(waiting(), waiting(1), status=status) is None, "its pods are there: another write was refused"


def replace_status(**fields: Any) -> Any:
    return world().status.model_copy(update=fields)


def test_a_group_that_is_never_placed_whole() -> None:
    record = RequeueState(group=GROUP, times=1, at=NOW)
    gated = waiting(gated=True, node="", moved=0)
    assert found(gated, status=replace_status(requeues=(record,))) is None, "others may have come first"
    again = record.model_copy(update={"times": 2})
    seen = found(gated, status=replace_status(requeues=(again,)))
    assert seen is not None
    assert seen.cause.reason is Reason.UNSCHEDULABLE
    assert seen.since == NOW - timedelta(seconds=FIRST_PAUSE) - 2 * HALF_PLACED_LIMIT


def test_only_reasons_that_need_somebody_have_a_limit() -> None:
    assert {CATALOGUE[reason].severity for reason in LIMITS} == {Severity.NEEDS_SOMEBODY}
    assert all(timedelta(seconds=60) <= limit <= timedelta(seconds=120) for limit in LIMITS.values())


def test_what_counts_as_a_move_of_a_pod() -> None:
    def at(second: int) -> str:
        return f"2026-01-01T12:00:{second:02}Z"

    def moved(**status: Any) -> int:
        meta = {"name": "p", "creationTimestamp": at(1), "annotations": {names.ANNOTATION_ADMITTED: at(2)}}
        view = pod_view({"metadata": meta, "status": status})
        assert view.moved is not None
        return view.moved.second

    assert moved() == 2
    assert moved(conditions=[{"type": "PodScheduled", "status": "True", "lastTransitionTime": at(3)}]) == 3
    states = {"state": {"running": {"startedAt": at(7)}}, "lastState": {"terminated": {"finishedAt": at(6)}}}
    assert moved(containerStatuses=[states]) == 7
    assert moved(initContainerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}]) == 2
    assert pod_view({"metadata": {"name": "p"}}).moved is None

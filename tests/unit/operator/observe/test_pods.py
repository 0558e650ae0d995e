"""Views of raw bodies: what is absent is empty, what the kubelet says is kept."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llama_operator.observe.kubernetes import parse_time
from llama_operator.observe.pods import Ended, Waiting, pod_view, pod_views
from llama_serving.config import names


def body(status: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **meta}, "status": status}


def test_a_body_with_nothing_but_a_name() -> None:
    pod = pod_view({"metadata": {"name": "p"}})
    assert (pod.name, pod.uid, pod.component, pod.pod_hash) == ("p", "", "", "")
    assert (pod.group, pod.stage) == (-1, -1)
    assert (pod.phase, pod.node, pod.ip, pod.reason, pod.message) == ("Pending", "", "", "", "")
    assert (pod.created, pod.gone_by, pod.forced) == (datetime.fromtimestamp(0, UTC), None, False)
    assert (pod.ready, pod.containers_ready, pod.in_rotation, pod.weights) == (False, False, None, "")
    assert (pod.waiting, pod.ended, pod.restarts, pod.requests, pod.unscheduled) == (None, None, 0, {}, "")
    assert pod.alive
    assert pod_view(body()) == pod


@pytest.mark.parametrize(
    ("state", "waiting"),
    [
        ({}, None),
        ({"waiting": {}}, None),
        ({"waiting": {"reason": "ContainerCreating"}}, None),
        ({"waiting": {"reason": "PodInitializing"}}, None),
        ({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, None),
        *[
            ({"waiting": {"reason": reason, "message": "m"}}, Waiting("c", reason, "m"))
            for reason in ("ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError",
                           "InvalidImageName", "RunContainerError", "CreateContainerError")
        ],
        ({"waiting": {"reason": "CrashLoopBackOff"}}, Waiting("c", "CrashLoopBackOff", "")),
    ],
)  # fmt: skip
def test_why_a_container_waits(state: dict[str, Any], waiting: Waiting | None) -> None:
    assert pod_view(body({"containerStatuses": [{"name": "c", "state": state}]})).waiting == waiting
    assert pod_view(body({"initContainerStatuses": [{"name": "c", "state": state}]})).waiting == waiting


def test_how_a_container_ended() -> None:
    over = {
        "terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m", "finishedAt": "2026-01-01T00:00:00Z"}
    }
    ended = Ended("OOMKilled", 137, "m", datetime(2026, 1, 1, tzinfo=UTC))
    assert pod_view(body({"containerStatuses": [{"state": over}]})).ended == ended
    last = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": over, "restartCount": 4}
    found = pod_view(body({"containerStatuses": [last]}))
    assert (found.ended, found.restarts) == (ended, 4)
    assert pod_view(body({"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]})).ended == Ended(
        "", 0, "", None
    )


@pytest.mark.parametrize(("value", "gate"), [("True", True), ("False", False), ("Unknown", False), (None, None)])
def test_rotation(value: str | None, gate: bool | None) -> None:
    conditions = [{"type": names.GATE_IN_ROTATION, "status": value}] if value else []
    assert pod_view(body({"conditions": conditions})).in_rotation is gate


def test_the_scheduler_is_quoted_only_while_it_refuses() -> None:
    for status, message in (("False", "no room"), ("True", "")):
        conditions = [{"type": "PodScheduled", "status": status, "message": "no room"}]
        assert pod_view(body({"conditions": conditions})).unscheduled == message


@pytest.mark.parametrize(
    ("phase", "alive"), [("Pending", True), ("Running", True), ("Unknown", True), ("Failed", False)]
)
def test_alive(phase: str, alive: bool) -> None:
    assert pod_view(body({"phase": phase})).alive is alive
    assert not pod_view(body({"phase": phase}, deletionTimestamp="2026-01-01T00:00:00Z")).alive


def test_forced() -> None:
    assert pod_view(body(deletionGracePeriodSeconds=0)).forced
    assert not pod_view(body(deletionGracePeriodSeconds=30)).forced


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("17", 17), ("", -1), ("-1", -1), ("x", -1), ("1.0", -1)])
def test_numbers_in_labels(text: str, number: int) -> None:
    assert pod_view(body(labels={names.LABEL_GROUP: text, names.LABEL_STAGE: text})).group == number


def test_requests_of_its_containers_and_sidecars() -> None:
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
        "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}}],
    }
    assert pod_view({"metadata": {"name": "p"}, "spec": spec}).requests == {"cpu": 1.05, "memory": 2**30}


def test_views_come_in_the_order_of_names() -> None:
    assert [pod.name for pod in pod_views({"metadata": {"name": name}} for name in "cab")] == ["a", "b", "c"]


def test_times() -> None:
    assert parse_time(None) is None
    assert parse_time("2026-01-01T00:00:00Z") == datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_time("2026-01-01T00:00:00.500000Z") == datetime(2026, 1, 1, microsecond=500000, tzinfo=UTC)

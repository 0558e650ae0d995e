"""From a leader's pod to a endpoint."""

from typing import Any

import pytest

from llama_serving.config import names
from llama_serving.gateway.discovery.pods import leader_selector, parse_endpoint

READY = [{"type": "ContainersReady", "status": "False"}, {"type": "Ready", "status": "True"}]


def pod(
    *, conditions: Any = READY, ip: Any = "10.1.2.3", group: str = "3", weights: Any = "llama@1", **metadata: Any
) -> Any:
    return {
        "metadata": {
            "name": "chat-abc-3-0",
            "uid": "u1",
            "labels": {names.LABEL_GROUP: group},
            "annotations": {names.ANNOTATION_WEIGHTS: weights} if weights is not None else None,
            **metadata,
        },
        "status": {"podIP": ip, "conditions": conditions},
    }


def test_a_ready_leader_is_a_target() -> None:
    endpoint = parse_endpoint(pod())
    assert endpoint is not None
    assert (endpoint.key, endpoint.name, endpoint.ordinal, endpoint.weights) == ("u1", "chat-abc-3-0", 3, "llama@1")
    assert (endpoint.host, endpoint.port, endpoint.ready) == ("10.1.2.3", names.PORT_ENGINE, True)


@pytest.mark.parametrize(
    "item",
    [
        pod(conditions=None),
        pod(conditions=[]),
        pod(conditions=[{"type": "Ready", "status": "False"}]),
        pod(conditions=[{"type": "Ready", "status": "Unknown"}]),
        pod(ip=None),
        pod(ip=""),
        pod(deletionTimestamp="2026-01-01T00:00:00Z"),
    ],
)
def test_what_is_not_ready_is_known_and_not_routable(item: Any) -> None:
    endpoint = parse_endpoint(item)
    assert endpoint is not None
    assert not endpoint.ready


def test_a_pod_without_status_is_known_and_not_routable() -> None:
    item = pod()
    del item["status"]
    endpoint = parse_endpoint(item)
    assert endpoint is not None
    assert not endpoint.ready


@pytest.mark.parametrize("group", ["", "x", "-1", "²"])
def test_a_pod_whose_label_names_no_group_is_left_out(group: str) -> None:
    assert parse_endpoint(pod(group=group)) is None


@pytest.mark.parametrize(("weights", "expected"), [(None, ""), ("a\r\nx: y", "ax: y"), ("gewicht-ü", "gewicht-")])
def test_the_weights_are_fit_for_a_header(weights: str | None, expected: str) -> None:
    endpoint = parse_endpoint(pod(weights=weights))
    assert endpoint is not None
    assert endpoint.weights == expected


@pytest.mark.parametrize(("value", "moving"), [("true", True), ("false", False), ("", False)])
def test_the_annotation_that_lets_streams_leave(value: str, moving: bool) -> None:
    item = pod()
    item["metadata"]["annotations"][names.ANNOTATION_MOVE_STREAMS] = value
    endpoint = parse_endpoint(item)
    assert endpoint is not None
    assert endpoint.moving is moving


def test_the_selector_names_leaders_only() -> None:
    assert leader_selector("chat").split(",") == [
        "llama-operator.dev/deployment=chat",
        "app.kubernetes.io/component=stage",
        "llama-operator.dev/stage=0",
    ]

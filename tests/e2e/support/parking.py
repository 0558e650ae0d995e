"""Deployments in other namespaces of the test bed, such as the demo's, give their room to the tests and get it back.

The number of groups is kept in an annotation, so that a run that was killed loses nothing: the next one restores it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from examples.kubectl import Kubectl

KEPT = "tests.llama-operator.dev/replicas"
GONE_WITHIN_S = 180.0
BACK_WITHIN_S = 900.0


@contextmanager
def others_parked(kubectl: Kubectl) -> Iterator[None]:
    """Scale the deployments of other namespaces to zero, and back to what they were at the end."""
    parked = [(_in(kubectl, found), found["metadata"]["name"]) for found in _others(kubectl) if _has_groups(found)]
    for there, name in parked:
        _park(there, name)
    for there, name in parked:
        _wait(there, name, lambda found: not found["status"].get("replicas"), within=GONE_WITHIN_S)
    try:
        yield
    finally:
        for there, name in parked:
            _bring_back(there, name)
        for there, name in parked:
            _wait(there, name, _serves, within=BACK_WITHIN_S)


def _others(kubectl: Kubectl) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubectl.json("get", "llamadeployments", "--all-namespaces")["items"]
    return [one for one in found if one["metadata"]["namespace"] != kubectl.namespace]


def _has_groups(found: dict[str, Any]) -> bool:
    """Autoscaled deployments are left alone: their number of groups is not the user's."""
    kept = KEPT in found["metadata"].get("annotations", {})
    return kept or bool(found["spec"].get("replicas") and not found["spec"].get("autoscaling"))


def _in(kubectl: Kubectl, found: dict[str, Any]) -> Kubectl:
    return Kubectl(kubectl.environment, found["metadata"]["namespace"])


def _park(kubectl: Kubectl, name: str) -> None:
    found = kubectl.json("get", "llamadeployment", name)
    replicas = found["metadata"].get("annotations", {}).get(KEPT, str(found["spec"].get("replicas", 1)))
    print(f"{kubectl.namespace}/{name}: parked, it had {replicas} groups", flush=True)
    change: dict[str, object] = {"metadata": {"annotations": {KEPT: replicas}}, "spec": {"replicas": 0}}
    kubectl.patch("llamadeployment", name, change)


def _bring_back(kubectl: Kubectl, name: str) -> None:
    found = kubectl.json("get", "llamadeployment", name)
    replicas = int(found["metadata"]["annotations"][KEPT])
    change: dict[str, object] = {"metadata": {"annotations": {KEPT: None}}, "spec": {"replicas": replicas}}
    kubectl.patch("llamadeployment", name, change)


def _serves(found: dict[str, Any]) -> bool:
    replicas = found["spec"].get("replicas", 1)
    ready = bool(found["status"].get("readyReplicas") == replicas)
    return ready and found["status"].get("observedGeneration") == found["metadata"]["generation"]


def _wait(kubectl: Kubectl, name: str, check: Callable[[dict[str, Any]], bool], *, within: float) -> None:
    found: dict[str, Any] = {}
    for event in kubectl.watch("llamadeployment", name, within=within):
        found = event["object"]
        found.setdefault("status", {})
        if check(found):
            return
    raise AssertionError(f"{name} in {kubectl.namespace}: not within {within} s; {found.get('status')}")

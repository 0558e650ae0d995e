"""Pods that tests put beside those of the operator, as Pod Security ``restricted`` wants them."""

from collections.abc import Mapping

from examples.cluster import SETTINGS
from tests.e2e.support.bed import Object


def python_pod(namespace: str, name: str, *args: str, labels: Mapping[str, str] | None = None) -> Object:
    """A pod of the operator's image that runs ``python3`` with these arguments once, without rights of its own."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "python", "image": SETTINGS["images.operator"], "imagePullPolicy": "Never",
                    "args": ["python3", *args],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }  # fmt: skip

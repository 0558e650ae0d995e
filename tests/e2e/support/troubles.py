"""What makes an edit impossible on the test bed, beside the edit: objects of the cluster, or nodes without pods.

The edits are in tests/impossible_edits.py, by the same names.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.e2e.support.bed import NAMESPACE, Bed, Object
from tests.e2e.support.faults import until

NAME: Final = "llama-e2e-edits"
_STAGES: Final = {"app.kubernetes.io/component": "stage"}
_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_CPU: Final = "object.spec.containers.all(one, quantity(one.resources.requests.cpu).isLessThan(quantity('1')))"


@dataclass(frozen=True)
class BedTrouble:
    """Objects to make, and one that the API server refuses once they count; or nodes to cordon."""

    objects: tuple[Object, ...] = ()
    refused: Object = field(default_factory=dict)
    cordon: bool = False


def _in_namespace(kind: str, api: str, name: str, *, spec: Object) -> Object:
    meta = {"name": name, "namespace": NAMESPACE, "labels": _STAGES}
    return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec}


def _pod(*, cpu: str, memory: str) -> Object:
    safe = {
        "allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 10001,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    container = {"name": "probe", "image": "localhost/none-such:1", "resources": resources, "securityContext": safe}
    return _in_namespace("Pod", "v1", "probe", spec={"containers": [container]})


TROUBLES: Final[Mapping[str, BedTrouble]] = {
    "quota that is used up": BedTrouble(
        objects=(
            _in_namespace(
                "ResourceQuota", "v1", "edits", spec={"hard": {"count/networkpolicies.networking.k8s.io": "1"}},
            ),
        ),
        refused=_in_namespace(
            "NetworkPolicy", "networking.k8s.io/v1", "probe", spec={"podSelector": {"matchLabels": {"none": "such"}}}
        ),
    ),
    "limit of the namespace": BedTrouble(
        objects=(
            _in_namespace(
                "LimitRange", "v1", "edits", spec={"limits": [{"type": "Container", "max": {"memory": "5Gi"}}]},
            ),
        ),
        refused=_pod(cpu="10m", memory="6Gi"),
    ),
    "policy of the cluster": BedTrouble(
        objects=(
            {
                "apiVersion": _ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": NAME},
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                        "objectSelector": {"matchLabels": _STAGES},
                        "resourceRules": [
                            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                        ],
                    },
                    "validations": [{"expression": _CPU, "message": "a container has less than 1 cpu"}],
                },
            },
            {
                "apiVersion": _ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": NAME},
                "spec": {"policyName": NAME, "validationActions": ["Deny"]},
            },
        ),
        refused=_pod(cpu="1", memory="64Mi"),
    ),
    "restart while no node takes pods": BedTrouble(cordon=True),
}  # fmt: skip


@contextlib.contextmanager
def trouble(bed: Bed, name: str) -> Iterator[None]:
    """The trouble of this edit is there, until the end of the block; nothing where it needs none."""
    wanted = TROUBLES.get(name, BedTrouble())
    nodes = [node["metadata"]["name"] for node in bed.kubectl.json("get", "nodes")["items"]] if wanted.cordon else []
    try:
        if nodes:
            bed.kubectl("cordon", *nodes)
        if wanted.objects:
            bed.kubectl.apply(*wanted.objects)
            until(f"the API server refuses what {name} forbids", lambda: _taken(bed, wanted.refused), 60)
        yield
    finally:
        if nodes:
            bed.kubectl("uncordon", *nodes)
        for made in reversed(wanted.objects):
            bed.kubectl("delete", made["kind"].lower(), made["metadata"]["name"], "--ignore-not-found")


def _taken(bed: Bed, probe: Object) -> str:
    """Say that the API server does not refuse the object by a rule; nothing when it does."""
    said = bed.kubectl.refusal(probe)
    refused = any(word in said for word in ("forbidden", "denied"))
    return "" if refused else f"{probe['kind']} {probe['metadata']['name']}: {said or 'taken'}"

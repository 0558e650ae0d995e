"""The scheduler's message on a pod that it could not place: ``0/4 nodes are available: 1 ..., 3 .... preemption: ...``.

A cause of the pod itself stands there alone. Causes of nodes come with the number of nodes; what preemption says is
about the same nodes once more.
"""

import re
from dataclasses import replace
from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause, form, read

_CLAIM: Final = 'persistentvolumeclaims? "(?P<name>[^"]+)"'

_POD_FORMS: Final = (
    form(CauseKind.CLAIM_NOT_MADE, f"waiting for ephemeral volume controller to create the {_CLAIM}"),
    form(CauseKind.OBJECT_MISSING, f"{_CLAIM} not found", "PersistentVolumeClaim"),
    form(CauseKind.CLAIM_LEAVING, f"{_CLAIM} is being deleted"),
    form(CauseKind.CLAIM_LOST, f'{_CLAIM} bound to non-existent persistentvolume "(?P<other>[^"]*)"'),
    form(CauseKind.CLAIM_UNBOUND, "pod has unbound immediate PersistentVolumeClaims"),
    form(CauseKind.CLASS_MISSING, 'storageclass(es)?(.storage.k8s.io)? "(?P<name>[^"]+)" not found'),
)

_NODE_FORMS: Final = (
    form(CauseKind.INSUFFICIENT, "^Insufficient (?P<name>[^ ]+)"),
    form(CauseKind.TOO_MANY_PODS, "^Too many pods"),
    form(CauseKind.TAINT, r"untolerated taint(\(s\))? \{(?P<name>[^ :}]+)"),
    form(CauseKind.TAINT, "untolerated taint|had taints that the pod didn't tolerate"),
    form(CauseKind.NODE_RULE, "didn't match (Pod's )?node (affinity|selector)|match the requested node name"),
    form(CauseKind.APART_RULE, "anti-affinity rules"),
    form(CauseKind.POD_RULE, "didn't match pod affinity"),
    form(CauseKind.SPREAD_RULE, "topology spread constraints"),
    form(CauseKind.PORTS_TAKEN, "didn't have free ports"),
    form(CauseKind.CORDONED, "were unschedulable"),
    form(CauseKind.VOLUME_ZONE, "no available volume zone"),
    form(CauseKind.VOLUME_NODE, "volume node affinity conflict|match PersistentVolume's node affinity"),
    form(CauseKind.VOLUME_NONE, "didn't find available persistent volumes to bind"),
    form(CauseKind.VOLUME_SPACE, "did not have enough free storage"),
    form(CauseKind.VOLUME_GONE, "bound to non-existent pv"),
    form(CauseKind.VOLUME_COUNT, "exceed max volume count"),
    form(CauseKind.CSI_DRIVER_MISSING, "^(?P<name>[^ ]+) CSI driver is not installed"),
    form(CauseKind.VOLUME_EXCLUSIVE, "ReadWriteOncePod access mode already in-use|had no available disk"),
    form(CauseKind.DEVICE_CLAIM, "cannot allocate all claims|resourceclaim"),
)

_COUNTED: Final = re.compile(r"(\d+) (.+)")
_BETWEEN: Final = re.compile(r", (?=\d+ )")
_HEAD: Final = re.compile(r"^0/(\d+) nodes are available: ?")
_TAIL: Final = re.compile(r"\.? *(pod group )?preemption: .*$")

#: Causes by which a volume, and not room or a rule, keeps the pod away.
OF_VOLUMES: Final = frozenset(
    {
        CauseKind.VOLUME_ZONE,
        CauseKind.VOLUME_NODE,
        CauseKind.VOLUME_NONE,
        CauseKind.VOLUME_SPACE,
        CauseKind.VOLUME_GONE,
        CauseKind.VOLUME_COUNT,
        CauseKind.VOLUME_EXCLUSIVE,
        CauseKind.CSI_DRIVER_MISSING,
    }
)


def scheduler_causes(message: str) -> tuple[PodCause, ...]:
    """Return what the scheduler has against a pod; empty where its message has no known form."""
    of_pod = read(_POD_FORMS, message)
    if of_pod is not None:
        return (of_pod,)
    line = " ".join(message.split())
    if not _HEAD.match(line):
        return ()
    body = _TAIL.sub("", _HEAD.sub("", line)).rstrip(" .")
    found = [cause for part in _BETWEEN.split(body) if (cause := _of_nodes(part))]
    return tuple(found) if len(found) == len(_BETWEEN.split(body)) else ()


def nodes_of(message: str) -> int:
    """Return how many nodes the scheduler looked at; 0 where it does not say."""
    found = _HEAD.match(message)
    return int(found[1]) if found else 0


def concerns_volumes(causes: tuple[PodCause, ...]) -> bool:
    """Return whether a claim or a volume alone keeps the pod away: of the pod itself, or on every node."""
    return bool(causes) and all(not cause.nodes or cause.kind in OF_VOLUMES for cause in causes)


def _of_nodes(part: str) -> PodCause | None:
    counted = _COUNTED.match(part)
    cause = read(_NODE_FORMS, counted[2]) if counted else None
    return replace(cause, nodes=int(counted[1])) if counted and cause else None

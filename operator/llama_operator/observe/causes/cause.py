"""A cause as data, and the forms of text from which it is read."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto

_LONGEST = 4000  # characters of a text that are looked at: a registry may answer anything


class CauseKind(StrEnum):
    """What keeps a pod from running. The comment says what the fields of its ``PodCause`` hold."""

    # what a pod names
    OBJECT_MISSING = auto()  # what: kind; name
    KEY_MISSING = auto()  # what: kind; name, or the volume in ``other``; key
    OBJECT_NOT_READ = auto()  # other: volume
    PULL_SECRET_MISSING = auto()  # name
    # claims and volumes
    CLAIM_UNBOUND = auto()  # name, may be empty
    CLAIM_LEAVING = auto()  # name
    CLAIM_LOST = auto()  # name; other: volume
    CLAIM_NOT_MADE = auto()  # name
    CLAIM_WAITS_FOR_POD = auto()  # name
    CLAIM_HAS_NO_CLASS = auto()  # name
    CLASS_MISSING = auto()  # name: StorageClass
    PROVISIONING_FAILED = auto()  # name: class; said
    VOLUME_ZONE = auto()
    VOLUME_NODE = auto()
    VOLUME_NONE = auto()
    VOLUME_SPACE = auto()
    VOLUME_GONE = auto()
    VOLUME_COUNT = auto()
    VOLUME_IN_USE = auto()  # name; other: pods
    VOLUME_EXCLUSIVE = auto()
    ATTACH_FAILED = auto()  # name; said
    MOUNT_FAILED = auto()  # name; said
    MOUNT_DENIED = auto()  # name
    PATH_MISSING = auto()  # name; other: path
    VOLUME_SLOW = auto()  # name: volumes
    CSI_DRIVER_MISSING = auto()  # name
    # room and rules of the scheduler
    INSUFFICIENT = auto()  # name: resource
    TOO_MANY_PODS = auto()
    TAINT = auto()  # name, may be empty
    NODE_RULE = auto()
    POD_RULE = auto()
    APART_RULE = auto()
    SPREAD_RULE = auto()
    PORTS_TAKEN = auto()
    CORDONED = auto()
    DEVICE_CLAIM = auto()
    # images
    IMAGE_NOT_FOUND = auto()
    IMAGE_DENIED = auto()
    IMAGE_RATE_LIMIT = auto()
    IMAGE_PLATFORM = auto()
    IMAGE_NAME = auto()
    IMAGE_NEVER = auto()
    IMAGE_UNSIGNED = auto()
    IMAGE_NODE_DISK = auto()
    REGISTRY_CERTIFICATE = auto()
    REGISTRY_PLAIN_HTTP = auto()
    REGISTRY_NAME = auto()  # name: host
    REGISTRY_REFUSED = auto()
    REGISTRY_SILENT = auto()
    REGISTRY_BROKEN = auto()
    IMAGE_PULLING = auto()  # name
    # sandbox, devices and containers
    NETWORK_NOT_READY = auto()
    NETWORK_SETUP = auto()  # name: plugin; said
    NO_ADDRESS = auto()
    RUNTIME_MISSING = auto()  # name: handler
    SANDBOX_IMAGE = auto()  # name
    SANDBOX_FAILED = auto()  # said
    DEVICES_UNAVAILABLE = auto()  # name: resource; other: requested; said: available
    DEVICES_UNHEALTHY = auto()  # name: resource
    DEVICES_UNKNOWN = auto()  # name: resource
    DEVICES_NOT_PREPARED = auto()  # said
    RUNS_AS_ROOT = auto()
    PROGRAM_MISSING = auto()  # name
    PROGRAM_OF_OTHER_CPU = auto()
    NVIDIA_RUNTIME = auto()  # said
    CONTAINER_NAME_TAKEN = auto()
    # pods that ended
    NODE_LOW = auto()  # name: resource
    VOLUME_OVER_LIMIT = auto()  # name; other: limit
    DISK_OVER_LIMIT = auto()  # other: limit
    NODE_FULL = auto()  # name: resource
    NODE_LEAVES = auto()
    NODE_TAINTED = auto()
    NODE_LOST = auto()
    NODE_GONE = auto()
    EVICTED = auto()
    PREEMPTED = auto()
    TOPOLOGY = auto()
    POD_DEADLINE = auto()
    # refusals of the API server
    QUOTA = auto()  # name; other: requested; said: used and limited
    QUOTA_NEEDS = auto()  # name; said: resources
    LIMIT_RANGE = auto()  # said
    POD_SECURITY = auto()  # name: level; said
    WEBHOOK = auto()  # name; said
    WEBHOOK_SILENT = auto()  # name
    POLICY = auto()  # name; said
    NAMESPACE_LEAVES = auto()
    NO_RIGHT = auto()  # name: verb; what: resource


@dataclass(frozen=True)
class PodCause:
    """One cause. Which fields are filled, and with what, is said at each ``CauseKind``."""

    kind: CauseKind
    what: str = ""
    name: str = ""
    other: str = ""
    key: str = ""
    said: str = ""  # words of others that belong to it
    nodes: int = 0  # how many nodes the scheduler refuses for it; 0: it concerns the pod


@dataclass(frozen=True)
class TextForm:
    """A form of text: groups of the pattern are fields of the cause."""

    kind: CauseKind
    pattern: re.Pattern[str]
    what: str = ""


def form(kind: CauseKind, pattern: str, what: str = "") -> TextForm:
    """Return a form; ``what`` where every text of it is about the same kind of object.

    A pattern has no two repetitions side by side that can match the same characters: texts come from strangers.
    """
    return TextForm(kind, re.compile(pattern), what)


def read(forms: Iterable[TextForm], text: str) -> PodCause | None:
    """Return the cause by the first form that the text has; None for a text in no known form."""
    line = " ".join(text[:_LONGEST].split())
    for one in forms:
        found = one.pattern.search(line)
        if found:
            groups = {name: value for name, value in found.groupdict().items() if value}
            return PodCause(
                one.kind,
                what=groups.get("what", one.what),
                name=groups.get("name", ""),
                other=groups.get("other", ""),
                key=groups.get("key", ""),
                said=groups.get("said", ""),
            )
    return None

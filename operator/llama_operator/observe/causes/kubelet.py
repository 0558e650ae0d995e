"""What the kubelet says of a pod on its node: waiting containers, events, and how a pod or a container ended."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause, TextForm, form, read
from llama_operator.ports import SeenEvent

_RPC: Final = "(rpc error: code = [A-Za-z]+ desc = )?"

_OBJECT_FORMS: Final = (
    form(CauseKind.KEY_MISSING, "couldn't find key (?P<key>[^ ]+) in (?P<what>Secret|ConfigMap) [^/ ]+/"
         "(?P<name>[^ ]+)"),
    form(CauseKind.KEY_MISSING, 'volume "(?P<other>[^"]+)" : references non-existent secret key: (?P<key>[^ ]+)',
         "Secret"),
    form(CauseKind.KEY_MISSING, 'volume "(?P<other>[^"]+)" : configmap references non-existent config key: '
         "(?P<key>[^ ]+)", "ConfigMap"),
    form(CauseKind.OBJECT_MISSING, 'secrets? "(?P<name>[^"]+)" not found', "Secret"),
    form(CauseKind.OBJECT_MISSING, 'configmaps? "(?P<name>[^"]+)" not found', "ConfigMap"),
    form(CauseKind.OBJECT_MISSING, 'persistentvolumeclaims? "(?P<name>[^"]+)" not found', "PersistentVolumeClaim"),
    form(CauseKind.OBJECT_MISSING, 'serviceaccounts? "(?P<name>[^"]+)" not found', "ServiceAccount"),
    form(CauseKind.OBJECT_MISSING, 'runtimeclass(es)?(.node.k8s.io)? "(?P<name>[^"]+)" not found', "RuntimeClass"),
    form(CauseKind.OBJECT_NOT_READ, 'volume "(?P<other>[^"]+)" : (failed to sync (secret|configmap) cache|object '
         '"[^"]*"/"[^"]*" not registered|.* no relationship found between node)'),
)  # fmt: skip

#: Of containers in state waiting, other than of images.
_WAITING_FORMS: Final = (
    *_OBJECT_FORMS,
    form(CauseKind.RUNS_AS_ROOT, "container has runAsNonRoot and image"),
    form(CauseKind.NVIDIA_RUNTIME, "nvidia-container-(cli|runtime)[^:]*: (?P<said>.+)"),
    form(CauseKind.NVIDIA_RUNTIME, "(?P<said>unresolvable CDI devices [^ ]+)"),
    form(CauseKind.PROGRAM_OF_OTHER_CPU, "exec format error"),
    form(CauseKind.PROGRAM_MISSING, r'exec: "(?P<name>[^"]+)": (executable file not found|stat .* no such file)'),
    form(CauseKind.CONTAINER_NAME_TAKEN, "failed to reserve container name|container name .* is already in use"),
)

_EVENT_FORMS: Final = (
    *_OBJECT_FORMS,
    form(CauseKind.PULL_SECRET_MISSING, r"Unable to retrieve some image pull secrets \((?P<name>[^)]+)\)"),
    form(CauseKind.CLAIM_UNBOUND, "error processing PVC [^/ ]+/(?P<name>[^: ]+): PVC is not bound"),
    form(CauseKind.CLAIM_LEAVING, "error processing PVC [^/ ]+/(?P<name>[^: ]+): PVC is being deleted"),
    form(CauseKind.VOLUME_IN_USE, 'Multi-Attach error for volume "(?P<name>[^"]+)" Volume is already used by pod'
         r"\(s\) (?P<other>.+)"),
    form(CauseKind.VOLUME_IN_USE, '(Multi-Attach error|Waiting for detach) for volume "(?P<name>[^"]+)"'),
    form(CauseKind.CSI_DRIVER_MISSING, "driver name (?P<name>[^ ]+) not found in the list of registered CSI drivers"),
    form(CauseKind.ATTACH_FAILED, 'AttachVolume[.A-Za-z]* failed for volume "(?P<name>[^"]+)" : '
         f"{_RPC}(?P<said>.+)"),
    form(CauseKind.MOUNT_DENIED, 'volume "(?P<name>[^"]+)" : .*(access denied by server|[Pp]ermission denied)'),
    form(CauseKind.PATH_MISSING, 'volume "(?P<name>[^"]+)" : path "?(?P<other>[^" ]+)"? does not exist'),
    form(CauseKind.PATH_MISSING, 'volume "(?P<name>[^"]+)" : hostPath type check failed: (?P<other>[^ ]+) is not'),
    form(CauseKind.PATH_MISSING, 'volume "(?P<name>[^"]+)" : .*mounting (?P<other>[^ ]+) failed, reason given by '
         "server: No such file"),
    form(CauseKind.MOUNT_FAILED, 'volume "(?P<name>[^"]+)" : mount failed: .*Output: (mount[.a-z0-9]*: )?'
         "(?P<said>.+)"),
    form(CauseKind.MOUNT_FAILED, r'(Mount|Map)Volume[.A-Za-z ]* failed for volume "(?P<name>[^"]+)" : '
         f"{_RPC}(?P<said>.+)"),
    form(CauseKind.VOLUME_SLOW, r"Unable to attach or mount volumes: unmounted volumes=\[(?P<name>[^]]*)\]"),
    form(CauseKind.NETWORK_NOT_READY, "network is not ready|cni plugin not initialized|cni config uninitialized"),
    form(CauseKind.NO_ADDRESS, "(?i)failed to assign an IP address|no (IP )?addresses available|out of IP addresses"
         "|no available IP"),
    form(CauseKind.RUNTIME_MISSING, '(no runtime for|runtime handler|unknown runtime:?) "?(?P<name>[^" ]+)"?( is '
         "configured| not (found|supported))?"),
    form(CauseKind.SANDBOX_IMAGE, 'Failed to create pod sandbox: .*pull (and unpack )?image "(?P<name>[^"]+)"'),
    form(CauseKind.NETWORK_SETUP, 'plugin type="(?P<name>[^"]+)" (name="[^"]*" )?failed \\(add\\): (?P<said>.+)'),
    form(CauseKind.NETWORK_SETUP, "failed to set ?up (sandbox container )?[^:]*network [^:]*: (?P<said>.+)"),
    form(CauseKind.SANDBOX_FAILED, f"Failed to create pod sandbox: {_RPC}(?P<said>.+)"),
    form(CauseKind.DEVICES_NOT_PREPARED, "Failed to prepare dynamic resources: (?P<said>.+)"),
    form(CauseKind.IMAGE_PULLING, '^Pulling image "(?P<name>[^"]+)"'),
)  # fmt: skip

#: Of the controllers of claims.
_CLAIM_FORMS: Final = (
    form(CauseKind.CLASS_MISSING, 'storageclass(es)?(.storage.k8s.io)? "(?P<name>[^"]+)" not found'),
    form(CauseKind.CLAIM_HAS_NO_CLASS, "no persistent volumes available for this claim and no storage class is set"),
    form(CauseKind.CLAIM_WAITS_FOR_POD, "waiting for first consumer|waiting for pod .* to be scheduled"),
    form(CauseKind.PROVISIONING_FAILED, f'failed to provision volume with StorageClass "(?P<name>[^"]+)": {_RPC}'
         "(?P<said>.+)"),
    form(CauseKind.CSI_DRIVER_MISSING, "created either by the external provisioner '(?P<name>[^']+)'"),
)  # fmt: skip

#: Of pods that ended, by status.reason and status.message together.
_ENDED_FORMS: Final = (
    form(CauseKind.VOLUME_OVER_LIMIT, 'Usage of EmptyDir volume "(?P<name>[^"]+)" exceeds the limit '
         '"(?P<other>[^"]+)"'),
    form(CauseKind.DISK_OVER_LIMIT, r"ephemeral local storage usage exceeds the total limit of containers "
         r"(?P<other>[^ ]+?)[.]?( |$)"),
    form(CauseKind.DISK_OVER_LIMIT, 'exceeded its local ephemeral storage limit "(?P<other>[^"]+)"'),
    form(CauseKind.NODE_LOW, r"The node was low on resource: (?P<name>[^ .]+)"),
    form(CauseKind.NODE_LOW, r"The node had condition: \[?(?P<name>[A-Za-z]+)"),
    form(CauseKind.DEVICES_UNAVAILABLE, "requested number of devices unavailable for (?P<name>[^ ]+)[.] Requested: "
         "(?P<other>[0-9]+), Available: (?P<said>[0-9]+)"),
    form(CauseKind.DEVICES_UNHEALTHY, "cannot allocate unhealthy devices (?P<name>[^ ,]+)"),
    form(CauseKind.DEVICES_UNKNOWN, "cannot allocate unregistered device (?P<name>[^ ,]+)"),
    form(CauseKind.NODE_FULL, "^OutOf(?P<name>[^: ]+)"),
    form(CauseKind.TOPOLOGY, "^TopologyAffinityError"),
    form(CauseKind.NODE_LEAVES, "^NodeShutdown|node is shutting down|imminent node shutdown"),
    form(CauseKind.PREEMPTED, "^Preempt|preempt(ed|ion)? (in order )?to (admit|accommodate)"),
    form(CauseKind.NODE_TAINTED, "Taint manager|taint-eviction|deleting due to NoExecute taint"),
    form(CauseKind.NODE_LOST, "^NodeLost|is unresponsive"),
    form(CauseKind.NODE_GONE, "PodGC: node no longer exists"),
    form(CauseKind.EVICTED, "^EvictionByEvictionAPI|Eviction API"),
    form(CauseKind.NODE_RULE, "^NodeAffinity|^NodeName"),
    form(CauseKind.POD_DEADLINE, "^(: )?DeadlineExceeded"),
)  # fmt: skip

#: An event is older than the pod's last change by less than this only because clocks show whole seconds.
_SECOND: Final = timedelta(seconds=2)
#: What these say is told by the status of the pod, better.
_KNOWN_BETTER: Final = frozenset({"FailedScheduling", "Scheduled", "Created", "Started", "Pulled"})
#: What says less than any other event.
_VAGUE: Final = (CauseKind.VOLUME_SLOW, CauseKind.OBJECT_NOT_READ)


def waiting_cause(message: str) -> PodCause | None:
    """Return why a container that has its image does not run."""
    return read(_WAITING_FORMS, message)


def ended_cause(reason: str, message: str) -> PodCause | None:
    """Return why a pod ended, was not let in by its node, or is being taken away."""
    return read(_ENDED_FORMS, f"{reason}: {message} ")


def event_cause(events: Iterable[SeenEvent], *, moved: datetime | None) -> PodCause | None:
    """Return what the newest events say; the pod has outlived those from before its last change, ``moved``."""
    recent = [one for one in events if one.reason not in _KNOWN_BETTER and (not moved or one.at >= moved - _SECOND)]
    return _clearest(_EVENT_FORMS, recent)


def claim_cause(events: Iterable[SeenEvent]) -> PodCause | None:
    """Return what the newest events say of a claim that is not bound."""
    return _clearest(_CLAIM_FORMS, events)


def _clearest(forms: tuple[TextForm, ...], events: Iterable[SeenEvent]) -> PodCause | None:
    """Return the cause of the newest event; of one that says little only where no other is known.

    An image is pulled when volumes and network are there: whatever was wrong before is over.
    """
    newest_first = sorted(events, key=lambda one: one.at, reverse=True)
    found = [cause for one in newest_first if (cause := read(forms, one.message))]
    return next((cause for cause in found if cause.kind not in _VAGUE), found[0] if found else None)

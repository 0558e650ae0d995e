"""From the body of a pod to a frozen view."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from llama_operator.api.crdgen.quantity import parse
from llama_operator.observe.findings import NOTHING, Findings, Reference, references
from llama_operator.observe.kubernetes import is_true, parse_time, since
from llama_serving.config import names
from llama_serving.config.wording import clause


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run: the kubelet's reason and message."""

    container: str
    reason: str
    message: str
    image: str = ""  # as the spec names it


@dataclass(frozen=True)
class Ended:
    """How a container last ended."""

    reason: str
    exit_code: int
    message: str
    at: datetime | None


@dataclass(frozen=True)
class PodView:
    """A pod of ours as the API server shows it."""

    name: str
    uid: str
    component: str
    group: int
    stage: int
    pod_hash: str
    phase: str
    node: str
    ip: str
    created: datetime
    gone_by: datetime | None  # None: not being deleted; else when its grace period ends
    forced: bool  # it was deleted without grace: only a finalizer of somebody else keeps it
    ready: bool
    ready_since: datetime | None  # when ``ready`` became what it is
    containers_ready: bool
    in_rotation: bool | None  # None: the gate was never set
    rotation_since: datetime | None  # when ``in_rotation`` became what it is
    weights: str
    moving: bool  # the gateways were told to move its streams to other groups
    reason: str  # status.reason, e.g. Evicted
    message: str
    unscheduled: str  # the scheduler's message while the pod has no node
    waiting: Waiting | None
    ended: Ended | None
    restarts: int
    requests: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    gated: bool = False  # our scheduling gate is on it: the scheduler does not look at it
    admitted: datetime | None = None  # when our gate was removed
    bound: datetime | None = None  # when the scheduler gave it its node
    nominated: bool = False  # the scheduler displaces pods of lower priority for it
    claims: frozenset[str] = frozenset()  # names of the PersistentVolumeClaims that it mounts
    namespace: str = ""
    deployment: str = ""  # name of the LlamaDeployment, by its label
    references: tuple[Reference, ...] = ()  # what its spec names
    findings: Findings = NOTHING  # what was found about it, where it waits and its status does not tell why
    finalizers: tuple[str, ...] = ()
    target: tuple[str, str] | None = None  # reason and message of the condition DisruptionTarget: it is to go
    moved: datetime | None = None  # when anything of it last changed: created, admitted, placed, a container started
    kept_from: frozenset[str] = frozenset()  # names of nodes that it must not go to
    scheduler: str = ""  # that places it, where it is not the cluster's default
    adapters: str = ""  # the note of the LoRA adapters that gateways may use
    pod_template: str = ""  # the note of the labels and annotations that it was given

    @property
    def alive(self) -> bool:
        """Exists, is not on its way out and can still run."""
        return self.gone_by is None and not self.finished

    @property
    def finished(self) -> bool:
        """Its containers will not run again."""
        return self.phase in ("Failed", "Succeeded")


def pod_view(body: Mapping[str, Any]) -> PodView:
    """Return the view of a pod's body; absent fields become empty values."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    return PodView(
        name=meta["name"],
        uid=meta.get("uid", ""),
        component=labels.get(names.LABEL_COMPONENT, ""),
        group=_number(labels.get(names.LABEL_GROUP)),
        stage=_number(labels.get(names.LABEL_STAGE)),
        pod_hash=labels.get(names.LABEL_POD_HASH, ""),
        phase=status.get("phase", "Pending"),
        node=(body.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        created=parse_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        gone_by=parse_time(meta.get("deletionTimestamp")),  # the API server writes the end of the grace period here
        forced=meta.get("deletionGracePeriodSeconds") == 0,
        ready=is_true(conditions.get("Ready")),
        ready_since=since(conditions.get("Ready")),
        containers_ready=is_true(conditions.get("ContainersReady")),
        in_rotation=_gate(conditions.get(names.GATE_IN_ROTATION)),
        rotation_since=since(conditions.get(names.GATE_IN_ROTATION)),
        weights=(meta.get("annotations") or {}).get(names.ANNOTATION_WEIGHTS, ""),
        moving=(meta.get("annotations") or {}).get(names.ANNOTATION_MOVE_STREAMS) == "true",
        reason=status.get("reason", ""),
        message=clause(status.get("message", "")),
        unscheduled=_unscheduled(scheduled),
        waiting=_waiting(body),
        ended=_ended(status),
        restarts=sum(item.get("restartCount", 0) for item in status.get("containerStatuses") or ()),
        requests=pod_requests(body),
        limits=pod_limits(body),
        gated=is_gated(body),
        admitted=parse_time((meta.get("annotations") or {}).get(names.ANNOTATION_ADMITTED)),
        bound=since(scheduled) if is_true(scheduled) else None,
        nominated=bool(status.get("nominatedNodeName")),
        claims=mounted(body),
        namespace=meta.get("namespace", ""),
        deployment=labels.get(names.LABEL_DEPLOYMENT, ""),
        references=references(body),
        finalizers=tuple(meta.get("finalizers") or ()),
        target=_target(conditions.get("DisruptionTarget")),
        moved=_moved(body),
        kept_from=kept_from(body),
        scheduler=_scheduler(body.get("spec") or {}),
        adapters=(meta.get("annotations") or {}).get(names.ANNOTATION_ADAPTERS, ""),
        pod_template=(meta.get("annotations") or {}).get(names.ANNOTATION_POD_TEMPLATE, ""),
    )


def pod_views(bodies: Iterable[Mapping[str, Any]]) -> tuple[PodView, ...]:
    """Return the views of many pods, in the order of their names."""
    return tuple(sorted((pod_view(body) for body in bodies), key=lambda pod: pod.name))


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else -1


def is_gated(body: Mapping[str, Any]) -> bool:
    """Return whether our scheduling gate is on the pod."""
    gates = (body.get("spec") or {}).get("schedulingGates") or ()
    return any(gate.get("name") == names.GATE_GROUP for gate in gates)


def _unscheduled(scheduled: Mapping[str, Any]) -> str:
    """Return what the scheduler has against the pod; of one with a gate it says only that it does not look."""
    if scheduled.get("status") != "False" or scheduled.get("reason") == "SchedulingGated":
        return ""
    return clause(scheduled.get("message", ""))


def kept_from(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the nodes that the affinity of a pod rules out, whatever else it asks for."""
    affinity = ((body.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    ruled_out = [frozenset(_ruled_out(term)) for term in terms]
    return frozenset.intersection(*ruled_out) if ruled_out else frozenset()


def _ruled_out(term: Mapping[str, Any]) -> Iterator[str]:
    for one in term.get("matchFields") or ():
        if (one.get("key"), one.get("operator")) == ("metadata.name", "NotIn"):
            yield from one.get("values") or ()


def mounted(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the claims that a pod mounts."""
    volumes = (body.get("spec") or {}).get("volumes") or ()
    return frozenset(one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one)


def _gate(condition: Mapping[str, Any] | None) -> bool | None:
    return None if condition is None else condition.get("status") == "True"


def _waiting(body: Mapping[str, Any]) -> Waiting | None:
    status, spec = body.get("status") or {}, body.get("spec") or {}
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = (item.get("state") or {}).get("waiting")
        if state and state.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            name = item.get("name", "")
            containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
            image = next((one.get("image", "") for one in containers if one.get("name") == name), "")
            return Waiting(name, state["reason"], clause(state.get("message", "")), image)
    return None


def _target(condition: Mapping[str, Any] | None) -> tuple[str, str] | None:
    if condition is None or not is_true(condition):
        return None
    return condition.get("reason", ""), clause(condition.get("message", ""))


def _moved(body: Mapping[str, Any]) -> datetime | None:
    """Return the latest moment in a pod's metadata and status. Pulls and back-offs that repeat leave no moment there.

    Conditions are set by the scheduler, the kubelet and us; their times change with their values only.
    """
    meta, status = body["metadata"], body.get("status") or {}
    found = [meta.get("creationTimestamp"), (meta.get("annotations") or {}).get(names.ANNOTATION_ADMITTED)]
    found += [item.get("lastTransitionTime") for item in status.get("conditions") or ()]
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        for state in (item.get("state") or {}, item.get("lastState") or {}):
            found += [step.get(moment) for step in state.values() for moment in ("startedAt", "finishedAt")]
    return max((moment for text in found if (moment := parse_time(text))), default=None)


def _scheduler(spec: Mapping[str, Any]) -> str:
    """Return the scheduler's name; empty for the default one, whose name the API server fills in."""
    name = str(spec.get("schedulerName") or "")
    return "" if name == "default-scheduler" else name


def _ended(status: Mapping[str, Any]) -> Ended | None:
    for item in status.get("containerStatuses") or ():
        ended = (item.get("state") or {}).get("terminated") or (item.get("lastState") or {}).get("terminated")
        if ended:
            return Ended(
                ended.get("reason", ""),
                int(ended.get("exitCode", 0)),
                ended.get("message", ""),
                parse_time(ended.get("finishedAt")),
            )
    return None


def pod_requests(pod: Mapping[str, Any]) -> dict[str, float]:
    """Add up what the scheduler counts: containers and sidecars, or an init container that needs more, and overhead.

    A request of 0 asks for nothing, also of a node that has no such resource.
    """
    return {name: amount for name, amount in _resources(pod, "requests").items() if amount}


def pod_limits(pod: Mapping[str, Any]) -> dict[str, float]:
    """Add up the limits of the containers as a ResourceQuota counts them."""
    return _resources(pod, "limits")


def _resources(pod: Mapping[str, Any], section: str) -> dict[str, float]:
    spec = pod.get("spec", {})
    total = _sum(spec.get("containers") or (), section)
    peak: dict[str, float] = {}
    sidecars: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        step = _add(sidecars, _sum([container], section))
        peak = {name: max(peak.get(name, 0), step.get(name, 0)) for name in peak | step}
        if container.get("restartPolicy") == "Always":
            sidecars = step
    total = _add(total, sidecars)
    total = {name: max(total.get(name, 0), peak.get(name, 0)) for name in total | peak}
    for name, amount in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + float(parse(amount))
    return total


def _add(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def _sum(containers: Iterable[Mapping[str, Any]], section: str) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for container in containers:
        for name, amount in ((container.get("resources") or {}).get(section) or {}).items():
            total[name] += float(parse(str(amount)))
    return dict(total)

"""Why a group does not serve: one sentence with numbers, from what the scheduler, the kubelet and the cell say."""

import math
from datetime import datetime, timedelta
from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause
from llama_operator.observe.causes.images import IMAGE_WORDS, image_cause
from llama_operator.observe.causes.kubelet import event_cause, waiting_cause
from llama_operator.observe.causes.scheduler import concerns_volumes, scheduler_causes
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.findings import CLAIM, CLAIM_TEMPLATE, PULL
from llama_operator.observe.kubernetes import is_true
from llama_operator.observe.last_words import last_words
from llama_operator.observe.pods import PodView, Waiting
from llama_operator.plan.causes import LONGEST, OF_MODEL, explain_cause, field_of, refusal_words
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.naming import gateway_name
from llama_operator.plan.placement.scheduler_words import scheduler_words
from llama_operator.plan.placement.shortage import pod_shortage
from llama_operator.plan.placement.strikes import DEVICE_REASONS, LEAVE_FROM, is_spent, weight
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.plan.sentences import causes as cause_sentences
from llama_operator.plan.sentences import deployment as deployment_sentences
from llama_operator.plan.sentences import groups as sentences
from llama_operator.plan.sentences import images as image_sentences
from llama_operator.plan.sentences import nodes as node_sentences
from llama_operator.plan.sentences import refusals as refusal_sentences
from llama_operator.ports import Capacity, Manifest
from llama_serving.config import names
from llama_serving.config.reason_catalogue import FAILURES, PRIORITY, reason_from
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import CellState, Phase
from llama_serving.config.wording import clause, rough_seconds

#: For so long a scheduler may say nothing of a pod before it is asked for.
OVERLOOKED: Final = timedelta(seconds=30)
#: How the runtime ends a container that it could not start.
_NEVER_STARTED: Final = frozenset({"StartError", "ContainerCannotRun"})
#: Fields that limit the memory of our containers.
_MEMORY_FIELDS: Final = {names.COMPONENT_STAGE: "resources.memory", names.COMPONENT_GATEWAY: "gateway.resources.memory"}


def explain_group(ordinal: int, stages: int, state: PlanState) -> Explanation | None:
    """Return the one thing to look at first in the groups of this ordinal; None when one of them serves.

    ``stages``: the pods that a group is to have, 0 where that is not known.
    """
    groups = state.at(ordinal)
    if any(group.serving for group in groups):
        return None
    pods = [pod for group in groups for pod in group.pods]
    found = [explanation for pod in pods if (explanation := explain_pod(pod, state.snapshot, state.now))]
    if len(pods) < stages:
        text = sentences.group_incomplete(ordinal, pods=len(pods), stages=stages)
        found.append(Explanation(Reason.POD_STARTING, text, ordinal))
    return most_severe(tuple(found))


def explain_gateway(snapshot: Snapshot, now: datetime) -> tuple[Explanation, ...]:
    """Say that no gateway is ready, since requests reach the groups through gateways only; or how many are not."""
    ready, asked = gateways_ready(snapshot)
    changed = gateways_settled(snapshot)
    if ready and changed >= asked:
        return ()
    alive = (pod for pod in snapshot.gateways if pod.alive)
    stuck = (_not_running(pod, snapshot.capacity, now) or _found(pod, now) for pod in alive)
    first = most_severe(tuple(explanation for explanation in stuck if explanation))
    if ready:
        text = deployment_sentences.gateways_starting(ready=changed, asked=asked, why=first.detail if first else "")
        failed = first is not None and first.reason in FAILURES
        return (Explanation(first.reason if first and failed else Reason.GATEWAY_STARTING, text),)
    text = deployment_sentences.gateways_not_ready(asked=asked, why=first.detail if first else _not_made(snapshot))
    return (Explanation(Reason.GATEWAY_NOT_READY, text),)


def _not_made(snapshot: Snapshot) -> str:
    """Say why the gateway's pods are refused, as its Deployment shows it."""
    deployment = _gateway_deployment(snapshot) or {}
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    failed = (one for one in conditions if one.get("type") == "ReplicaFailure" and is_true(one))
    said = next((one.get("message", "") for one in failed), "")
    return refusal_sentences.gateways_not_made(refusal_words(said)) if said else ""


def _gateway_deployment(snapshot: Snapshot) -> Manifest | None:
    name = gateway_name(snapshot.key.name)
    found = (child for child in snapshot.children if child["kind"] == "Deployment")
    return next((child for child in found if child["metadata"]["name"] == name), None)


def gateways_ready(snapshot: Snapshot) -> tuple[int, int]:
    """Count the gateway pods that answer, and those asked for; both 0 before the Deployment was seen."""
    gateway = _gateway_deployment(snapshot)
    if gateway is None:
        return 0, 0
    return (gateway.get("status") or {}).get("availableReplicas", 0), gateway["spec"].get("replicas", 0)


def gateways_settled(snapshot: Snapshot) -> int:
    """Count the gateway pods that run as their Deployment asks and answer; 0 before its controller has seen a change.

    Pods of the earlier template are counted as available ones, so that a new pod counts once it surely answers.
    """
    gateway = _gateway_deployment(snapshot)
    if gateway is None:
        return 0
    status = gateway.get("status") or {}
    generation = gateway["metadata"].get("generation", 0)
    if status.get("observedGeneration", generation) < generation:
        return 0
    replicas, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    return max(min(updated, int(status.get("availableReplicas", 0)) - (replicas - updated)), 0)


def explain_pod(pod: PodView, snapshot: Snapshot, now: datetime) -> Explanation | None:
    """Say why this pod is not a serving stage yet; None when it is."""
    return explain_start(pod, snapshot.capacity, now) or _cell(pod, snapshot, now)


def explain_start(
    pod: PodView, capacity: Capacity | None, now: datetime, *, prefix: str = OF_MODEL
) -> Explanation | None:
    """Say why no container of this pod runs, from what scheduler and kubelet say; None when one does.

    ``prefix``: what stands before the names of the weights' fields.
    """
    stuck = _not_running(pod, capacity, now, prefix=prefix)
    if stuck:
        return stuck
    if pod.gated:  # no time in it: a group may wait long for room, and says so elsewhere
        return Explanation(Reason.POD_STARTING, sentences.pod_gated(pod.name), pod.group)
    if _is_overlooked(pod, now):
        waited = _span(now, pod.admitted or pod.created)
        text = sentences.scheduler_silent(pod.name, scheduler=pod.scheduler, waited=waited)
        return Explanation(Reason.UNSCHEDULABLE, text, pod.group)
    if not pod.node or pod.phase == "Pending":
        detail = sentences.pod_starting(pod.name, node=pod.node, waited=_span(now, pod.created))
        return _found(pod, now, prefix=prefix) or Explanation(Reason.POD_STARTING, detail, pod.group)
    return None


def _is_overlooked(pod: PodView, now: datetime) -> bool:
    """Return whether the scheduler of the spec has neither placed nor refused the pod for long."""
    since = max(pod.created, pod.admitted or pod.created)
    return bool(pod.scheduler) and not pod.node and pod.phase == "Pending" and now - since >= OVERLOOKED


def _not_running(
    pod: PodView, capacity: Capacity | None, now: datetime, *, prefix: str = OF_MODEL
) -> Explanation | None:
    """Say what the scheduler or the kubelet has against this pod."""
    if pod.unscheduled:
        return _unscheduled(pod, capacity, now, prefix=prefix)
    return _waiting(pod, pod.waiting, now, prefix=prefix) if pod.waiting else None


def _unscheduled(pod: PodView, capacity: Capacity | None, now: datetime, *, prefix: str) -> Explanation:
    """Say what the scheduler has against the pod: a claim, its volume, or that there is no room."""
    if missing := _missing_template(pod, now):
        return missing
    causes = scheduler_causes(pod.unscheduled)
    if len(causes) == 1 and not causes[0].nodes and (said := explain_cause(causes[0], pod, now, prefix=prefix)):
        return said
    if concerns_volumes(causes):
        fields = sorted(field for one in pod.references if one.kind == CLAIM and (field := field_of(one, pod, prefix)))
        why = scheduler_words(pod.unscheduled)
        text = cause_sentences.volume_keeps_away(pod.name, why=why, claims=", ".join(fields))
        return Explanation(Reason.VOLUME_UNAVAILABLE, text, pod.group)
    shortage = pod_shortage(pod, capacity)
    text = sentences.pod_unscheduled(pod.name, cause_sentences.room_is_made(shortage) if pod.nominated else shortage)
    return Explanation(Reason.UNSCHEDULABLE, text, pod.group, passing=pod.nominated)


def _missing_template(pod: PodView, now: datetime) -> Explanation | None:
    """Say that the template is missing from which the pod's devices are claimed: the scheduler waits for the claim."""
    absent = next((one for one in sorted(pod.findings.absent) if one.kind == CLAIM_TEMPLATE), None)
    cause = absent and PodCause(CauseKind.OBJECT_MISSING, what=absent.kind, name=absent.name)
    return explain_cause(cause, pod, now) if cause else None


def _found(pod: PodView, now: datetime, *, prefix: str = OF_MODEL) -> Explanation | None:
    """Say what was found about a pod whose status does not tell: an object that it names is missing, or its events."""
    absent = (one for one in sorted(pod.findings.absent) if one.use != PULL)
    causes = [PodCause(CauseKind.OBJECT_MISSING, what=one.kind, name=one.name) for one in absent]
    event = event_cause(pod.findings.events, moved=pod.moved)
    if event and not _is_there_now(event, pod):
        causes.append(event)
    found = (explain_cause(cause, pod, now, prefix=prefix) for cause in causes)
    return min((one for one in found if one), key=lambda one: (one.passing, PRIORITY[one.reason]), default=None)


def _is_there_now(cause: PodCause, pod: PodView) -> bool:
    """Return whether the event tells of an object that has been created since: the kubelet tries again by itself."""
    there = {(one.kind, one.name) for one in pod.findings.present}
    return cause.kind is CauseKind.OBJECT_MISSING and (cause.what, cause.name) in there


def _waiting(pod: PodView, waiting: Waiting, now: datetime, *, prefix: str) -> Explanation:
    if waiting.reason in IMAGE_WORDS:
        return _no_image(pod, waiting, now)
    said = clause(waiting.message, LONGEST)
    cause = waiting_cause(waiting.message)
    if waiting.reason == "CrashLoopBackOff":
        said = ""  # its message is the present pause, which says nothing of the cause
        never = pod.ended if pod.ended and pod.ended.reason in _NEVER_STARTED else None
        cause = waiting_cause(never.message) if never else None
    if cause and (known := explain_cause(cause, pod, now, prefix=prefix)):
        return known
    text = sentences.container_failing(pod.name, node=pod.node, word=waiting.reason, said=said, history=_history(pod))
    return Explanation(Reason.CONTAINER_FAILING, text, pod.group)


def _no_image(pod: PodView, waiting: Waiting, now: datetime) -> Explanation:
    """Say why there is no image: by the container's status, else by the pod's events, where older kubelets say it."""
    told = (image_cause(event.message) for event in pod.findings.events)
    cause = image_cause(waiting.message) or next((one for one in told if one), None)
    lacks = next((one for one in sorted(pod.findings.absent) if one.use == PULL), None)
    if lacks and (cause is None or cause.kind in (CauseKind.IMAGE_DENIED, CauseKind.IMAGE_NOT_FOUND)):
        cause = PodCause(CauseKind.PULL_SECRET_MISSING, name=lacks.name)
    if cause and (known := explain_cause(cause, pod, now)):
        return known
    why = image_sentences.image_unknown(waiting.reason, said=clause(waiting.message, LONGEST))
    return Explanation(Reason.IMAGE_UNAVAILABLE, image_sentences.no_image(pod.name, node=pod.node, why=why), pod.group)


def _history(pod: PodView) -> str:
    """Count restarts, and quote a container that has ended before."""
    if pod.ended is None:
        return ""
    said = clause(last_words(pod.ended.message), LONGEST)
    limit = _MEMORY_FIELDS.get(pod.component, "its limit") if pod.ended.reason == "OOMKilled" else ""
    return sentences.container_history(
        restarts=pod.restarts, exit_code=pod.ended.exit_code, memory=limit, last_words=said
    )


def _cell(pod: PodView, snapshot: Snapshot, now: datetime) -> Explanation | None:
    answer = snapshot.cells.get(pod.name)
    if (answer is None or answer.state is None) and _is_lost(pod.node, snapshot.capacity):
        text = cause_sentences.pod_on_lost_node(pod.name, node=pod.node, age=_span(now, pod.created))
        return Explanation(Reason.POD_LOST, text, pod.group)
    if answer is None or answer.state is None:
        error, age = answer.error if answer else "", _span(now, pod.created)
        detail = sentences.supervisor_silent(pod.name, node=pod.node, age=age, error=error, history=_history(pod))
        return Explanation(Reason.POD_STARTING, detail, pod.group)
    cell = answer.state
    if cell.phase is Phase.SERVING and (cell.stage != 0 or pod.ready):
        return None
    named = _named_by(pod, cell, snapshot)
    text = sentences.stage_says(
        pod.group, stage=named.stage, node=named.node, said=clause(cell.message, LONGEST), restarts=named.restarts
    )
    return Explanation(_cell_reason(cell), text + _strikes(cell, pod, snapshot, now=now), pod.group)


def _strikes(cell: CellState, pod: PodView, snapshot: Snapshot, *, now: datetime) -> str:
    """Say what a fault of devices means for the node: it is struck until the group leaves it, where it can."""
    record = next((one for one in snapshot.status.node_strikes if one.node == pod.node), None)
    if record is None or cell.reason not in DEVICE_REASONS:
        return ""
    if is_spent(record, now):
        return node_sentences.stays_on_node()
    return node_sentences.strikes_so_far(strikes=round(weight(record, now)), needed=math.ceil(LEAVE_FROM))


def _named_by(pod: PodView, cell: CellState, snapshot: Snapshot) -> PodView:
    """Return the pod that the cell speaks of: a leader names what hangs on any stage of its group."""
    stage = cell.hang.stage if cell.hang is not None and cell.reason is CellReason.ENGINE_HUNG else pod.stage
    group = (pod.group, pod.pod_hash)
    return next((one for one in snapshot.stages if (one.group, one.pod_hash) == group and one.stage == stage), pod)


def _is_lost(node: str, capacity: Capacity | None) -> bool:
    return any(one.name == node and not one.ready for one in (capacity.nodes if capacity else ()))


def _cell_reason(cell: CellState) -> Reason:
    if cell.reason is CellReason.SERVING:  # it serves, the pod's readiness has not followed yet
        return Reason.ENGINE_STARTING
    return reason_from(cell.reason, otherwise=Reason.ENGINE_STARTING)


def _span(now: datetime, since: datetime) -> str:
    return rough_seconds((now - since).total_seconds())

"""What makes a rollout roll back: the first evidence that a group cannot serve the desired template.

The evidence is gathered by a chain of checks. Each looks at one group of the template's pod hash, and says what it
found, or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llama_operator.observe.pods import PodView
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.weights_progress import explain_staging, explain_update
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.avoidance import leaves_nodes
from llama_operator.plan.placement.strikes import device_faults, is_spent
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as sentences
from llama_operator.plan.sentences import nodes as node_sentences
from llama_operator.plan.standstill import standstill
from llama_operator.plan.start_limits import RESTARTS, start_limit
from llama_serving.config.reason_catalogue import SETBACKS, reason_from
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import Phase


@dataclass(frozen=True)
class Input:
    """What a check looks at."""

    group: Group
    template: GroupTemplate
    state: PlanState
    since: datetime  # when the rollout started


Check = Callable[[Input], Explanation | None]


def rollback_cause(template: GroupTemplate, state: PlanState, *, since: datetime) -> Explanation | None:
    """Return why the rollout of the template is given up; None while nothing speaks against it."""
    groups = (group for group in state.groups if group.id.pod_hash == template.pod_hash)
    inputs = (Input(group, template, state, since) for group in groups)
    found = next((cause for item in inputs for check in CHECKS if (cause := check(item))), None)
    return found or _never_made(template, state, since=since)


def staging_refused(item: Input) -> Explanation | None:
    """Find a stage whose stager refused the weights."""
    staging = item.group.staging(item.template.digest, item.template.spec.sharding.pipeline)
    return explain_staging(item.group, item.template, staging) if staging.refused else None


def swap_failed(item: Input) -> Explanation | None:
    """Find an engine that could not load the weights in place."""
    swap = item.group.last_swap
    failed = _is_for_template(item) and swap is not None and swap.outcome == "failed"
    return explain_update(item.group, item.template.serve.weights.id) if failed else None


def verification_failed(item: Input) -> Explanation | None:
    """Find an engine that has the weights and does not pass with them."""
    if not (_is_for_template(item) and item.group.has(item.template.serve)):
        return None
    verdict = item.state.judge(item.group, item.template.serve)
    return Explanation(verdict.reason, verdict.message, item.group.id.ordinal) if verdict.passed is False else None


def start_failed(item: Input) -> Explanation | None:
    """Find a stage that does not start. Restarts from before the rollout are not held against a pod."""
    if not _is_starting(item):
        return None
    found = (_stage_failed(pod, item) for pod in item.group.pods)
    return next((cause for cause in found if cause), None)


def stands_still(item: Input) -> Explanation | None:
    """Find a group that waits for somebody, and of which nothing has moved for as long as its cause is waited for."""
    if item.group.in_rotation:
        return None
    return _given_up(item.group.pods, item.group.id, item.state, since=item.since)


def devices_failed(item: Input) -> Explanation | None:
    """Find a group whose devices fail again and again, and for which there is no better node."""
    records = {one.node: one for one in item.state.snapshot.status.node_strikes if one.at >= item.since}
    now = item.state.now
    spent = [
        fault for fault in device_faults(item.group) if fault.node in records and is_spent(records[fault.node], now)
    ]
    if not spent or not _is_starting(item) or leaves_nodes(item.group, item.template.spec, item.state):
        return None
    fault, ordinal = spent[0], item.group.id.ordinal
    text = node_sentences.devices_failed(
        ordinal, node=fault.node, strikes=records[fault.node].strikes, said=fault.message
    )  # fmt: skip
    return Explanation(_cause(fault.reason), text, ordinal)


def start_timed_out(item: Input) -> Explanation | None:
    """Find a group whose pods have been on their nodes for too long."""
    placed = [pod for pod in item.group.pods if not pod.unscheduled and not pod.gated]
    if not _is_starting(item) or len(placed) < len(item.group.pods) or not placed:
        return None
    limit = start_limit(item.template.spec)
    if item.state.now - max(item.since, *(pod.bound or pod.created for pod in placed)) < limit:
        return None
    minutes = int(limit.total_seconds()) // 60
    ordinal = item.group.id.ordinal
    text = sentences.start_timed_out(ordinal, minutes=minutes)
    return Explanation(Reason.ENGINE_FAILED, text, ordinal)


#: In the order in which a group comes to serve.
CHECKS: Final[tuple[Check, ...]] = (
    staging_refused,  # the bytes are not what the manifest says, do not fit, or cannot be fetched
    swap_failed,  # a running engine could not take them
    verification_failed,  # it took them, and answers badly
    stands_still,  # its pods cannot run: no image, no claim, no room, a missing reference
    devices_failed,  # its nodes have spent their strikes, and no other has room
    start_failed,  # a new engine says that it cannot start, or restarts again and again
    start_timed_out,  # it says nothing at all
)


def _never_made(template: GroupTemplate, state: PlanState, *, since: datetime) -> Explanation | None:
    """Find a group whose pods the API server refuses: the one before it is gone, and nothing of it is there."""
    name = state.snapshot.key.name
    missing = (GroupId(name, ordinal, template.pod_hash) for ordinal in state.ordinals if not state.at(ordinal))
    degraded = [one.last_transition_time for one in state.snapshot.status.conditions if one.type == "Degraded"]
    found = (_given_up((), group_id, state, since=max([since, *degraded])) for group_id in missing)
    return next((cause for cause in found if cause), None)


def _given_up(pods: tuple[PodView, ...], group_id: GroupId, state: PlanState, *, since: datetime) -> Explanation | None:
    found = standstill(pods, state, group=group_id.name, since=since)
    if found is None or not found.is_over(state.now):
        return None
    seconds = int((state.now - found.since).total_seconds())
    text = sentences.stood_still(group_id.ordinal, seconds=seconds, why=found.cause.detail)
    return Explanation(found.cause.reason, text, group_id.ordinal)


def _is_for_template(item: Input) -> bool:
    """Return whether the engine has, or was told to load, the template's weights."""
    return item.group.target_digest == item.template.digest


def _is_starting(item: Input) -> bool:
    started = item.group.has(item.template.serve) or item.group.in_rotation
    return _is_for_template(item) and not started


def _stage_failed(pod: PodView, item: Input) -> Explanation | None:
    ordinal, cell = item.group.id.ordinal, item.group.states.get(pod.stage)
    if cell and cell.phase is Phase.FAILED:
        text = sentences.start_failed(ordinal, stage=pod.stage, restarts=0, said=cell.message)
        return Explanation(_cause(cell.reason), text, ordinal)
    if pod.created >= item.since and pod.restarts >= RESTARTS and _fails(pod, cell.reason if cell else None):
        said = cell.message if cell else (pod.waiting.message if pod.waiting else "it ends")
        text = sentences.start_failed(ordinal, stage=pod.stage, restarts=pod.restarts, said=said)
        return Explanation(Reason.ENGINE_FAILED, text, ordinal)
    return None


def _cause(reason: CellReason) -> Reason:
    """Return the cell's reason where it makes a rollout roll back, else that the engine failed."""
    found = reason_from(reason, otherwise=Reason.ENGINE_FAILED)
    return found if found in SETBACKS else Reason.ENGINE_FAILED


def _fails(pod: PodView, reason: CellReason | None) -> bool:
    looping = pod.waiting is not None and pod.waiting.reason == "CrashLoopBackOff"
    return looping or reason is CellReason.ENGINE_FAILED

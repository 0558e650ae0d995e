"""The pods of one group: completed, rebuilt when it lost a part, given back, drained.

A pod is deleted once by its own or a given grace period, and by force where nobody will ever end it: the kubelet of a
lost node confirms nothing, so a pod there would stay for ever. After that only a finalizer of somebody else can keep
the object, and asking again would not help.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.causes.kubelet import ended_cause
from llama_operator.observe.pods import PodView
from llama_operator.plan.actions import Actions, CreateStage, DeletePod, SetRotation
from llama_operator.plan.causes import LONGEST, ending_words
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.avoidance import avoidance, is_kept_from_others, leaves_nodes
from llama_operator.plan.placement.gang import half_placed
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import causes as cause_sentences
from llama_operator.plan.sentences import groups as sentences
from llama_operator.plan.sentences import nodes as node_sentences
from llama_operator.plan.sentences import placement as placement_sentences
from llama_serving.config.reasons import Reason
from llama_serving.config.state import Phase
from llama_serving.config.wording import clause, rough_seconds

# A broken group serves nobody: its pods need no long grace period. Seconds.
BROKEN_GRACE = 5
# Longer than a watch lags behind in a healthy cluster.
WATCH_LAG = timedelta(seconds=10)
# A pod that outlives its grace period by this is on a node whose kubelet does not answer.
OVERDUE = timedelta(seconds=30)


def complete_group(
    pods: tuple[PodView, ...], group: GroupId, spec: LlamaDeploymentSpec, *, state: PlanState
) -> Actions:
    """Create the pods that are missing; delete all where the group lost a part, or only some of them fit."""
    stages = spec.sharding.pipeline
    lost = _lost(pods, stages, state)
    if lost:
        text = sentences.group_rebuilt(group.ordinal, lost=lost, pods=len(pods), stages=stages)
        return Actions(
            deletes=pod_deletes(pods, lost, state, grace=BROKEN_GRACE),
            rotations=leave_rotation(pods),
            explanations=(Explanation(Reason.POD_LOST, text, group.ordinal),),
        )
    halves = half_placed(pods, state.snapshot, state.now)
    if halves:
        text = placement_sentences.group_requeued(group.ordinal, why=halves)
        return requeue(pods, group, Explanation(Reason.WAITING_FOR_ROOM, text, group.ordinal), state=state)
    if why := is_kept_from_others(pods, spec, state):
        text = node_sentences.group_made_again(group.ordinal, why=why)
        again = requeue(pods, group, Explanation(Reason.POD_STARTING, text, group.ordinal), state=state)
        return replace(again, requeued=())
    missing = [stage for stage in range(stages) if stage not in {pod.stage for pod in pods}]
    return _create(missing, pods, group, spec=spec, state=state) if missing else Actions(complete=(group,))


def _create(
    missing: Iterable[int], pods: tuple[PodView, ...], group: GroupId, *, spec: LlamaDeploymentSpec, state: PlanState
) -> Actions:
    found = avoidance(pods, spec, state)
    made = tuple(CreateStage(group, stage, found.nodes, found.required) for stage in missing)
    if not found.used:
        return Actions(creates=made)
    text = node_sentences.node_used_again(group.ordinal, nodes=found.used)
    return Actions(creates=made, explanations=(Explanation(Reason.POD_STARTING, text, group.ordinal),))


def leave_nodes(group: Group, spec: LlamaDeploymentSpec, state: PlanState) -> Actions | None:
    """Delete the pods of a group that leaves a node for its devices; None where it stays."""
    leaving = leaves_nodes(group, spec, state)
    if leaving is None:
        return None
    nodes, why = leaving
    return Actions(
        deletes=pod_deletes(group.pods, why.detail, state, grace=BROKEN_GRACE),
        rotations=leave_rotation(group.pods),
        explanations=(why,),
        left=nodes,
    )


def requeue(pods: tuple[PodView, ...], group: GroupId, explanation: Explanation, *, state: PlanState) -> Actions:
    """Delete all pods of a group that does not serve yet, which frees its room; it is asked for again later."""
    deletes = pod_deletes(pods, explanation.detail, state, grace=BROKEN_GRACE)
    return Actions(deletes=deletes, explanations=(explanation,), requeued=(group,))


def drain(pods: tuple[PodView, ...], why: str, state: PlanState) -> Actions:
    """Take the leader out of rotation and delete it first: a stage that ends earlier breaks the requests in flight."""
    leaders = tuple(pod for pod in pods if pod.stage == 0)
    return Actions(deletes=pod_deletes(leaders or pods, why, state, grace=None), rotations=leave_rotation(leaders))


def pod_deletes(pods: Iterable[PodView], why: str, state: PlanState, *, grace: int | None) -> tuple[DeletePod, ...]:
    """Return the deletes that these pods still need. ``grace`` in seconds; None leaves each pod its own."""
    return tuple(_pod_deletes(pods, why, state, grace=grace))


def leave_rotation(pods: Iterable[PodView]) -> tuple[SetRotation, ...]:
    """Close the gates of the leaders among these pods whose gate is open."""
    leaders = (pod for pod in pods if pod.stage == 0 and pod.in_rotation)
    return tuple(
        SetRotation(pod.name, pod.uid, open_=False, weights="", why=sentences.group_leaves()) for pod in leaders
    )


def _pod_deletes(pods: Iterable[PodView], why: str, state: PlanState, *, grace: int | None) -> Iterator[DeletePod]:
    for pod in pods:
        if pod.gone_by is None:
            yield DeletePod(pod.name, pod.uid, why, grace)
        elif not pod.forced and (state.now > pod.gone_by + OVERDUE or _on_lost_node(pod, state)):
            yield DeletePod(pod.name, pod.uid, sentences.node_silent(why, node=pod.node), grace=0)


def _on_lost_node(pod: PodView, state: PlanState) -> bool:
    capacity = state.snapshot.capacity
    return any(node.name == pod.node and not node.ready for node in (capacity.nodes if capacity else ()))


def _lost(pods: tuple[PodView, ...], stages: int, state: PlanState) -> str:
    """Say why the group cannot go on with the pods it has; empty when it can."""
    for pod in pods:
        if pod.finished:
            return _ended(pod)
        if not pod.alive:
            return _leaving(pod, state.now)
        if pod.stage >= stages:
            return sentences.pod_surplus(pod.name)
    absent = stages - len(pods)
    return sentences.pods_vanished(absent) if pods and absent and _was_complete(pods, state) else ""


def _ended(pod: PodView) -> str:
    cause = ended_cause(pod.reason, pod.message) or (ended_cause(*pod.target) if pod.target else None)
    if cause is not None:
        return cause_sentences.pod_ended_by(pod.name, why=ending_words(cause, pod.node))
    return sentences.pod_ended(pod.name, word=pod.reason or pod.phase, said=clause(pod.message, LONGEST))


def _leaving(pod: PodView, now: datetime) -> str:
    """Say why a pod goes, or why it stays although it was deleted."""
    if pod.gone_by and pod.finalizers and now > pod.gone_by + OVERDUE:
        waited = rough_seconds((now - pod.gone_by).total_seconds())
        return cause_sentences.kept_by_finalizers(pod.name, finalizers=pod.finalizers, waited=waited)
    cause = ended_cause(*pod.target) if pod.target else None
    return sentences.pod_deleted(pod.name, why=ending_words(cause, pod.node) if cause else "")


def _was_complete(pods: tuple[PodView, ...], state: PlanState) -> bool:
    """Return whether all stages had once joined: what remains is of a cluster that lost a part, not of one that starts.

    Supervisors are asked now, the watch may lag: a pod that it does not show yet must not end those that joined it.
    """
    if state.now - max(pod.created for pod in pods) < WATCH_LAG:
        return False
    for pod in pods:
        answer = state.snapshot.cells.get(pod.name)
        cell = answer.state if answer else None
        if pod.in_rotation is not None or (cell and cell.phase in (Phase.LOADING, Phase.SERVING)):
            return True
    return False

"""Status says what was seen: computed from the state by one function, written once per pass, only if it differs.

The plan adds only the reasons why something waits. Available: at least one group and one gateway answer. Progressing:
something is on its way without anybody's help. Degraded: somebody has to act, the message says on what. At zero groups
it is available where autoscaling starts one for the first request, and is not where ``spec.replicas`` is 0.

Ready, Reconciling and Stalled are for tools that wait (conditions.py). Ready: nothing waits and nothing had to be
written. Stalled: what a user should look at first does not end by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_operator.api import Condition, GroupStatus, LlamaDeploymentStatus, ModelFactsStatus, ModelStatus
from llama_operator.plan.adapters.progress import ready_condition
from llama_operator.plan.chat import chat_status
from llama_operator.plan.edge.access import access_ready
from llama_operator.plan.explain import gateways_ready
from llama_operator.plan.fabric import group_transports
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.plan.sentences import groups as groups_sentences
from llama_operator.plan.sentences import weights as weights_sentences
from llama_operator.status.conditions import LONGEST, Stamp, condition, kstatus_conditions, needs_somebody
from llama_operator.status.states import SERVING, waiting_state
from llama_serving.config import names
from llama_serving.config.reason_catalogue import CATALOGUE, FAILURES, Severity
from llama_serving.config.reasons import Reason, ReportReason, ScaleReason

POLICIES: Final = "NetworkPolicyEnforced"
_CAPACITY: Final = frozenset({Reason.UNSCHEDULABLE, Reason.WAITING_FOR_ROOM})


@dataclass(frozen=True)
class _Report:
    """What the status is computed from."""

    state: PlanState
    plan: Plan
    explanations: tuple[Explanation, ...]
    before: Mapping[str, GroupStatus]  # by the group's name, as the status has it now
    writes: int  # objects that this pass had to write


def deployment_status(
    state: PlanState, plan: Plan, problems: tuple[Explanation, ...], *, writes: int = 0
) -> LlamaDeploymentStatus:
    """Compute the status to write after this pass.

    ``problems``: what the API server said to our writes. ``writes``: how many objects were not as the spec wants them.
    """
    found = tuple(replace(one, detail=one.detail[:LONGEST]) for one in plan.explanations + problems)
    report = _Report(state, plan, found, {one.name: one for one in state.snapshot.status.groups}, writes)
    first = most_severe(found) or _at_rest(report)
    groups = tuple(_group(group, report) for group in state.groups)
    serving = [group for group in groups if group.state == SERVING]
    return LlamaDeploymentStatus(
        observed_generation=state.snapshot.generation,
        replicas=len({group.ordinal for group in groups}),
        ready_replicas=len(serving),
        groups_ready=f"{len(serving)}/{_wanted(report)}",
        selector=f"{names.LABEL_DEPLOYMENT}={state.snapshot.key.name},{names.LABEL_STAGE}=0",
        weights=", ".join(sorted({group.weights for group in serving if group.weights})),
        reason=first.reason,
        message=first.detail,
        model=_model(report),
        groups=groups,
        rollout=plan.persisted.rollout,
        history=plan.persisted.history,
        stable=plan.persisted.stable,
        baselines=plan.persisted.baselines,
        autoscaling=plan.persisted.autoscaling,
        requeues=plan.persisted.requeues,
        node_strikes=plan.persisted.node_strikes,
        default_images=plan.persisted.default_images,
        stage_resources=plan.persisted.stage_resources,
        adapters=plan.adapters if state.snapshot.spec else state.snapshot.status.adapters,
        adapter_limits=plan.adapter_limits if state.snapshot.spec else state.snapshot.status.adapter_limits,
        adapter_canaries=plan.adapter_canaries if state.snapshot.spec else state.snapshot.status.adapter_canaries,
        access=plan.access if state.snapshot.spec else state.snapshot.status.access,
        exposed=plan.exposed if state.snapshot.spec else state.snapshot.status.exposed,
        conditions=_conditions(report, first),
    )


def _wanted(report: _Report) -> int:
    """Count the groups that are wanted; where the spec cannot be read, those that are there."""
    return len(report.state.groups) if report.plan.replicas is None else report.plan.replicas


def _at_rest(report: _Report) -> Explanation:
    """Say that nothing waits: all groups serve, or none is wanted."""
    if report.plan.replicas != 0:
        return Explanation(Reason.SERVING, _serving_sentence(report.state))
    scaling = report.plan.scaling
    if scaling and scaling.reason == ScaleReason.START_FAILED:
        return Explanation(Reason.SCALED_TO_ZERO, scaling.message)
    if scaling:
        return Explanation(Reason.SCALED_TO_ZERO, sentences.scaled_to_zero(by_load=True))
    return Explanation(Reason.SCALED_TO_ZERO, sentences.scaled_to_zero(by_load=False))


def _serving_sentence(state: PlanState) -> str:
    serving = {group.id.ordinal for group in state.groups if group.serving}
    nodes = {pod.node for group in state.groups if group.id.ordinal in serving for pod in group.pods}
    return sentences.serving(groups=len(serving), nodes=len(nodes))


def _group(group: Group, report: _Report) -> GroupStatus:
    waits = most_severe(tuple(one for one in report.explanations if one.group == group.id.ordinal))
    state = SERVING if group.serving else waiting_state(waits)
    before = report.before.get(group.id.name)
    unchanged = before is not None and before.state == state
    return GroupStatus(
        ordinal=group.id.ordinal,
        name=group.id.name,
        pod_hash=group.id.pod_hash,
        state=state,
        reason=waits.reason if waits else (Reason.SERVING if group.serving else Reason.POD_STARTING),
        message=waits.detail if waits else (groups_sentences.engine_answers() if group.serving else ""),
        nodes=tuple(pod.node for pod in group.pods),
        weights=group.leader.weights if group.leader else "",
        verify=report.plan.verdicts.get(group.id.name),
        transports=group_transports(group),
        since=(before.since if before and unchanged else None) or report.state.now.replace(microsecond=0),
    )


def _model(report: _Report) -> ModelStatus | None:
    weights, snapshot = report.plan.weights, report.state.snapshot
    if snapshot.spec is None:
        return snapshot.status.model
    if weights is None:
        return ModelStatus(key="", reason=Reason.INSPECTING_MODEL, message=weights_sentences.not_resolved())
    if weights.facts is not None and not weights.refused:
        facts = ModelFactsStatus.model_validate(weights.facts.model_dump())
        text = weights_sentences.model_accepted(
            architecture=facts.architecture, layers=facts.layers, files=facts.files, size=facts.bytes
        )
        return ModelStatus(
            key=weights.name,
            outcome="accepted",
            reason=ReportReason.ACCEPTED,
            message=text,
            facts=facts,
            chat=chat_status(snapshot.spec, weights.chat),
        )
    if weights.refused:
        message = weights.message[:LONGEST]
        return ModelStatus(key=weights.name, outcome="refused", reason=weights.reason, message=message)
    return ModelStatus(key=weights.name, reason=Reason.INSPECTING_MODEL, message=weights_sentences.not_resolved())


def _conditions(report: _Report, first: Explanation) -> tuple[Condition, ...]:
    snapshot, wanted = report.state.snapshot, _wanted(report)
    ready, asked = gateways_ready(snapshot)
    serving = sum(group.serving for group in report.state.groups)
    idle = wanted == 0 and report.plan.scaling is not None  # as asked: the first request starts a group
    available = ready > 0 and (serving > 0 or idle)
    failure = most_severe(tuple(one for one in report.explanations if one.reason in FAILURES))
    waits = most_severe(tuple(one for one in report.explanations if one.reason not in FAILURES))
    done = Explanation(
        Reason.SERVING, sentences.serving_of(serving_=serving, wanted=wanted, ready=ready, gateways=asked)
    )
    done = done if wanted else _at_rest(report)
    conditions = (
        ("Available", available, done if available else first),
        ("Degraded", failure is not None, failure or done),
        ("Progressing", waits is not None, waits or first),
    )
    stamp = Stamp(snapshot.status.conditions, snapshot.generation, report.state.now)
    found = tuple(condition(kind, value, (why.reason, why.detail), stamp=stamp) for kind, value, why in conditions)
    about = (*_adapters(report, stamp), *_access(report, stamp), _policies(report, stamp))
    return (*found, *about, *_kstatus(report, first, stamp))


def _adapters(report: _Report, stamp: Stamp) -> tuple[Condition, ...]:
    """Say whether all adapters are ready, where the spec asks for some."""
    if not report.plan.adapters:
        return ()
    ready, why = ready_condition(report.plan.adapters)
    return (condition("AdaptersReady", ready, why, stamp=stamp),)


def _policies(report: _Report, stamp: Stamp) -> Condition:
    """Say whether NetworkPolicies are enforced; what an earlier process found holds until this one has tried."""
    trial = report.state.snapshot.policy_trial
    if trial is None:
        known = next((one for one in stamp.before if one.type == POLICIES), None)
        untried = (Reason.POLICIES_NOT_TRIED, sentences.policies_not_tried())
        return known or condition(POLICIES, None, untried, stamp=stamp)
    text = sentences.policies_tried(trial.pod, port=trial.port, accepted=trial.accepted)
    reason = Reason.POLICIES_NOT_ENFORCED if trial.accepted else Reason.POLICIES_ENFORCED
    return condition(POLICIES, not trial.accepted, (reason, text), stamp=stamp)


def _access(report: _Report, stamp: Stamp) -> tuple[Condition, ...]:
    """Say whether all keys may call, where the spec asks for access."""
    if report.plan.access is None:
        return ()
    ready, why = access_ready(report.plan.access, report.state.snapshot.access, report.explanations)
    return (condition("AccessReady", ready, why, stamp=stamp),)


def _kstatus(report: _Report, first: Explanation, stamp: Stamp) -> tuple[Condition, ...]:
    ready = not report.explanations
    if ready and report.writes:
        ready, first = False, Explanation(Reason.APPLYING, sentences.applying(report.writes))
    why = (first.reason, first.detail)
    return kstatus_conditions(why, ready=ready, stalled=_is_stalled(first, report), stamp=stamp)


def _is_stalled(first: Explanation, report: _Report) -> bool:
    """Return whether nothing goes on by itself: somebody has to act, or a rollout that failed is held.

    Where the cluster adds nodes for pending pods, pods that wait for capacity wait for nobody.
    """
    spec, rollout = report.state.snapshot.spec, report.plan.persisted.rollout
    adds_nodes = spec is not None and spec.placement.scheduling == "perPod"
    if first.passing or (first.reason in _CAPACITY and adds_nodes):
        return False
    ended = rollout is not None and rollout.phase in ("Held", "Failed")
    failed = ended and CATALOGUE[first.reason].severity is Severity.FAILED
    return failed or needs_somebody(first.reason)

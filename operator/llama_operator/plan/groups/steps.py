"""What each group needs next, and in which order groups are changed.

Invariants, for every pass: a group has one pod hash; a pod is created only when no dying pod of its group is left;
serving groups are disrupted for a change only while those that stay are at least ``replicas - maxUnavailable``; there
are at most ``replicas + maxSurge`` groups by our own doing. A lost pod (deleted, evicted, on a lost node) rebuilds its
group and only its group. State is read from the cluster and from the status of the rollout, none is kept here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from llama_operator.plan.actions import Actions, GroupPlan, add_up, closing_first
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.pods import complete_group, drain, leave_nodes, leave_rotation, requeue
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.surplus import drain_surplus
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.groups.update_policy import DisruptionBudget, UpdatePolicy
from llama_operator.plan.groups.weights_step import GroupStep, keep_weights, step_actions, update_in_place
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import is_held
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as sentences
from llama_operator.plan.sentences import placement as placement_sentences
from llama_serving.config.reasons import Reason


@dataclass
class _Pass:
    state: PlanState
    policy: UpdatePolicy
    budget: DisruptionBudget
    ahead: GroupId | None = None  # waits for room: groups after it are not made


def update_groups(state: PlanState, policy: UpdatePolicy) -> Actions:
    """Take the next steps of all groups, in the order in which they are changed."""
    replicas = state.spec.replicas
    missing = sum(not state.at(ordinal) for ordinal in state.ordinals)  # they are made, or come back, anyway
    budget = DisruptionBudget(
        disruptions_left=state.available - (replicas - policy.unavailable),
        surge_left=replicas + policy.surge - len(state.groups) - missing,
    )
    run = _Pass(state, policy, budget)
    changed = (_update(ordinal, run) for ordinal in policy.order(state.ordinals))
    return _in_order(add_up((drain_surplus(state), *changed, _leave_dying(state))))


def keep_groups(state: PlanState) -> Actions:
    """Keep what serves and drain surplus groups, where there is nothing that groups could be made from."""
    wanted = (group for group in state.groups if group.id.ordinal in state.ordinals)
    kept = (step_actions(keep_weights(group, state), state) + Actions(keep=(group.id,)) for group in wanted)
    return _in_order(add_up((drain_surplus(state), *kept, _leave_dying(state))))


def _in_order(actions: Actions) -> Actions:
    return replace(actions, rotations=closing_first(actions.rotations))


def _update(ordinal: int, run: _Pass) -> Actions:
    state, template = run.state, run.policy.template(ordinal)
    groups = state.at(ordinal)
    mine = next((group for group in groups if group.id.pod_hash == template.pod_hash), None)
    others = tuple(group for group in groups if group is not mine)
    if not others:
        return _build(mine, GroupId(state.snapshot.key.name, ordinal, template.pod_hash), template, run=run)
    if mine is not None:
        return _build(mine, mine.id, template, run=run) + _delete_replaced(others, mine, template, run=run)
    if ordinal not in run.policy.changing and any(group.serving for group in others):
        return _keep(others, state)
    return _replace(others, template, run)


def _build(group: Group | None, group_id: GroupId, template: GroupTemplate, *, run: _Pass) -> Actions:
    """Complete the group, and bring its weights to the template's."""
    state = run.state
    held = group is not None and is_held(group, state.now)
    if run.ahead and (group is None or held):
        return _wait_behind(group, group_id, run.ahead, state=state)
    run.ahead = run.ahead or (group_id if held else None)
    left = leave_nodes(group, template.spec, state) if group else None
    built = left or complete_group(group.pods if group else (), group_id, template.spec, state=state)
    if group is None or not (built.creates or built.complete):  # new, rebuilt or requeued
        return built + Actions(groups=(GroupPlan(group_id, template.serve, template.spec),))
    step = _next_step(group, template, run)
    new = template.serve if built.creates else None  # what the group's file says is not seen yet
    serve = step.serve or state.current_weights(group) or new
    rendered = Actions(groups=(GroupPlan(group_id, serve, template.spec),)) if serve else Actions(keep=(group_id,))
    return built + _explained(step, state) + rendered


def _next_step(group: Group, template: GroupTemplate, run: _Pass) -> GroupStep:
    policy, ordinal = run.policy, group.id.ordinal
    if ordinal not in policy.changing and group.serving:
        prefetch = policy.desired.serve if ordinal in policy.prefetch else None
        return keep_weights(group, run.state, prefetch=prefetch)
    may_disrupt = policy.may_disrupt and run.budget.disruptions_left > 0
    step = update_in_place(group, template, run.state, may_disrupt=may_disrupt)
    run.budget.disruptions_left -= int(step.disrupts)
    return step


def _wait_behind(group: Group | None, group_id: GroupId, ahead: GroupId, *, state: PlanState) -> Actions:
    """Let one group at a time wait for room with pods of its own."""
    text = placement_sentences.group_waits_behind(group_id.ordinal, ahead=ahead.ordinal)
    explanation = Explanation(Reason.WAITING_FOR_ROOM, text, group_id.ordinal)
    behind = Actions(behind=(group_id.ordinal,))
    if group is None:
        return behind + Actions(explanations=(explanation,))
    return behind + replace(requeue(group.pods, group_id, explanation, state=state), requeued=())


def _replace(others: tuple[Group, ...], template: GroupTemplate, run: _Pass) -> Actions:
    """Make the group of the template's pod hash, of which nothing is there yet, beside the others or after them."""
    policy, state, ordinal, old = run.policy, run.state, others[0].id.ordinal, others[0].id.pod_hash
    why = sentences.template_replaced(pods=old, by=template.pod_hash)
    if not any(group.may_serve(state.now) for group in others):
        return _drain_replaced(others, why, state)
    if policy.may_disrupt and policy.surge:
        if run.budget.surge_left > 0:
            run.budget.surge_left -= 1
            group_id = GroupId(state.snapshot.key.name, ordinal, template.pod_hash)
            return _build(None, group_id, template, run=run) + _keep(others, state)
        text = sentences.surge_is_full(
            ordinal, pods=old, groups=len(state.groups), surge=policy.surge, replicas=state.spec.replicas
        )
    elif policy.may_disrupt and run.budget.disruptions_left > 0:
        run.budget.disruptions_left -= 1
        return _drain_replaced(others, why, state)
    else:
        missing = max(state.spec.replicas - state.available, 1)
        text = sentences.others_do_not_serve(ordinal, pods=old, others=missing)
    explanations = (Explanation(Reason.REPLACING, text, ordinal),) if policy.may_disrupt else ()
    return _keep(others, state) + Actions(explanations=explanations)


def _delete_replaced(others: tuple[Group, ...], mine: Group, template: GroupTemplate, *, run: _Pass) -> Actions:
    """Drain the groups that ``mine`` replaces, when it serves or when they do not."""
    return add_up(_delete_or_keep(group, mine, template, run=run) for group in others)


def _delete_or_keep(group: Group, mine: Group, template: GroupTemplate, *, run: _Pass) -> Actions:
    state, wait = run.state, run.state.spec.rollout.min_ready_seconds
    spare = mine.available(state.now, wait) and mine.has(template.serve) and run.budget.disruptions_left > 0
    if group.may_serve(state.now) and not spare:
        return _keep((group,), state)
    run.budget.disruptions_left -= int(group.serving)
    why = sentences.template_replaced(pods=group.id.pod_hash, by=template.pod_hash)
    return _drain_replaced((group,), why, state)


def _keep(groups: Iterable[Group], state: PlanState) -> Actions:
    return add_up(_explained(keep_weights(group, state), state) + Actions(keep=(group.id,)) for group in groups)


def _drain_replaced(groups: Iterable[Group], why: str, state: PlanState) -> Actions:
    return add_up(_drained(groups, why, state))


def _drained(groups: Iterable[Group], why: str, state: PlanState) -> Iterator[Actions]:
    for group in groups:
        ordinal = group.id.ordinal
        explanation = Explanation(Reason.REPLACING, sentences.group_drains(ordinal, why=why), ordinal)
        yield drain(group.pods, why, state) + Actions(keep=(group.id,), explanations=(explanation,))


def _explained(step: GroupStep, state: PlanState) -> Actions:
    explanations = (step.explanation,) if step.explanation else ()
    return step_actions(step, state) + Actions(explanations=explanations)


def _leave_dying(state: PlanState) -> Actions:
    """Close the gates of leaders that end, whoever ends them."""
    dying = (pod for group in state.groups for pod in group.pods if not pod.alive)
    return Actions(rotations=leave_rotation(dying))

"""One pass of one LlamaDeployment: ``plan(state)``; pure, so that it can be tried on any snapshot.

1. how many groups there shall be: by autoscaling, else as many as the spec says
2. what the spec asks for (desired), once its weights are ready and fit the layout, and what to fall back to (stable)
3. where the rollout stands, and the update policy that follows from it
4. the next step of every group
5. which groups may go to the scheduler
6. what is left of earlier weights, what was measured, why anything waits
"""

from dataclasses import replace

from llama_operator.plan.actions import Actions
from llama_operator.plan.adapters.canary import adapter_canaries
from llama_operator.plan.adapters.limits import decided_limits
from llama_operator.plan.adapters.progress import report_adapters
from llama_operator.plan.autoscaling.memory import NO_MEMORY, AutoscalingMemory
from llama_operator.plan.autoscaling.scaling import scale
from llama_operator.plan.chat import check_chat
from llama_operator.plan.edge.access import access_status, explain_access
from llama_operator.plan.edge.exposure import explain_exposure, exposed_kinds
from llama_operator.plan.engine_cache import explain_caches
from llama_operator.plan.explain import explain_gateway
from llama_operator.plan.fabric import explain_fabrics
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.steps import keep_groups, update_groups
from llama_operator.plan.groups.template import check_images, desired_template, stable_template
from llama_operator.plan.groups.verdicts import group_verdicts
from llama_operator.plan.groups.verification import with_baselines
from llama_operator.plan.persisted import Persisted, persisted_state
from llama_operator.plan.placement.gang import admissions, requeues_after
from llama_operator.plan.placement.layout import check_layout
from llama_operator.plan.placement.strikes import strikes_after
from llama_operator.plan.plan import Plan
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.plan.rehearsal.rehearsal import rehearsal_deletes
from llama_operator.plan.rollout.decision import pending_rehearsal
from llama_operator.plan.rollout.default_images import with_defaults_kept
from llama_operator.plan.rollout.first_start import retry_pause
from llama_operator.plan.rollout.policy import decision_changed, update_policy
from llama_operator.plan.rollout.state_machine import Templates, advance, with_decided_hash
from llama_operator.plan.waits import explain_groups, explain_rollout, explain_weights, unless_told, waits_for_spec
from llama_operator.plan.weights.release import deployment_models, releases
from llama_serving.config.reasons import Reason

SOON = 1.0  # seconds between passes while something starts or ends: supervisors send no events
READING = 0.8  # where the number of groups follows the load: with the pass itself about once a second
LATER = 15.0  # and while all serve: a cell that stops serving shows in its pod's readiness, which is an event


def plan(state: PlanState, memory: AutoscalingMemory = NO_MEMORY) -> Plan:
    """Decide what to do now. A deployment that is being deleted gets an empty plan: owner references do the rest."""
    snapshot, persisted = state.snapshot, persisted_state(state.snapshot.status)
    if snapshot.deleting:
        return Plan(persisted=persisted)
    if snapshot.spec is None:
        invalid = Explanation(Reason.SPEC_INVALID, snapshot.spec_error)
        keep = Actions(keep=tuple(group.id for group in state.groups))
        return Plan(keep, persisted=persisted, explanations=(invalid,), recheck=LATER)
    scaled = scale(snapshot, state.groups, weights=state.model_weights, memory=memory, now=state.now)
    if scaled is None:
        return _plan(state, replace(persisted, autoscaling=None))
    found = _plan(state.scaled_to(scaled.target), replace(persisted, autoscaling=scaled.status))
    explanations = found.explanations + scaled.explanations
    recheck = max(min(found.recheck, READING), retry_pause(found.persisted, state))
    return replace(found, scaling=scaled, explanations=explanations, recheck=recheck)


def _plan(state: PlanState, before: Persisted) -> Plan:
    state = replace(state, adapter_canaries={one.name: one for one in adapter_canaries(state)})
    weights = state.model_weights
    refused = check_layout(state.spec, weights.facts) if weights and weights.facts else ()
    refused += check_chat(state) + check_images(state)
    desired = None if refused else with_decided_hash(desired_template(state), before)
    unmade = explain_weights(state) + refused
    templates = Templates(desired, stable_template(state), most_severe(unmade))
    persisted = advance(before, templates, state)
    persisted = with_defaults_kept(persisted, desired, state.spec)
    policy = update_policy(before, templates, state)
    if policy and decision_changed(before, persisted):
        policy = replace(policy, may_disrupt=False)
    actions = update_groups(state, policy) if policy else keep_groups(state)
    rehearsal = pending_rehearsal(persisted.rollout, desired, state)
    actions += Actions(deletes=rehearsal_deletes(rehearsal, state))
    actions, later = _with_admissions(actions, state)
    rollout = explain_rollout(persisted)
    waits = unless_told(unmade, rollout) + actions.explanations + explain_groups(state, policy, actions)
    waits += explain_gateway(state.snapshot, state.now) + later
    adapters = report_adapters(state)
    access = access_status(state.spec, state)
    edge = explain_access(state.spec, access, state) + explain_exposure(state.spec, state)
    waits += adapters.waits
    models = deployment_models(state.spec, templates.stable)
    waiting = waits or actions.desired_states or (rollout and not waits_for_spec(persisted))
    soon = waiting or state.exchanges_adapters  # a request that waits for one sends no event
    return Plan(
        actions=actions,
        models=models,
        releases=releases(state, models),
        rehearsal=rehearsal,
        weights=weights,
        adapters=adapters.statuses,
        adapter_limits=decided_limits(state.spec),
        adapter_canaries=tuple(state.adapter_canaries.values()),
        access=access,
        exposed=exposed_kinds(state.spec, state),
        persisted=_persisted(persisted, actions, state),
        verdicts=group_verdicts(state),
        # Those after the waits are none: they take somebody.
        explanations=rollout + waits + explain_fabrics(state) + explain_caches(state) + adapters.left_out + edge,
        replicas=state.spec.replicas,
        recheck=max(SOON if soon else LATER, retry_pause(persisted, state)),
    )


def _with_admissions(actions: Actions, state: PlanState) -> tuple[Actions, tuple[Explanation, ...]]:
    going = frozenset(delete.name for delete in actions.deletes)
    found, later = admissions(state.groups, state.snapshot, whole=actions.complete, going=going, now=state.now)
    return replace(actions, admissions=tuple(replace(item, behind=actions.behind) for item in found)), later


def _persisted(persisted: Persisted, actions: Actions, state: PlanState) -> Persisted:
    wanted, before = (item.group for item in actions.groups), state.snapshot.status.requeues
    requeues = requeues_after(before, actions.requeued, groups=state.groups, wanted=wanted, now=state.now)
    baselines = with_baselines(persisted.baselines, actions.verified, state.spec.verify)
    strikes = strikes_after(persisted.node_strikes, state.groups, actions.left, now=state.now)
    return replace(persisted, requeues=requeues, baselines=baselines, node_strikes=strikes)

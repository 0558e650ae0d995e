"""Why anything waits: the weights, the rollout, each group, as explanations for the status."""

from llama_operator.plan.actions import Actions
from llama_operator.plan.explain import explain_group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import template_label
from llama_operator.plan.groups.update_policy import UpdatePolicy
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.decision import is_undecided
from llama_operator.plan.sentences import rollout as rollout_sentences
from llama_operator.plan.sentences import weights as sentences
from llama_serving.config.reason_catalogue import FAILURES, reason_from
from llama_serving.config.reasons import Reason


def explain_weights(state: PlanState) -> tuple[Explanation, ...]:
    """Say why the weights of the spec are not ready."""
    view, model = state.model_weights, state.spec.model
    if view is None:
        text = sentences.weights_checked_first(source=model.source, revision=model.revision)
        return (Explanation(Reason.INSPECTING_MODEL, text),)
    if view.ready and view.manifest is not None and view.facts is not None:
        return ()
    if view.refused:
        return (Explanation(reason_from(view.reason, otherwise=Reason.MODEL_REFUSED), view.message),)
    text = view.message or sentences.weights_object_checked_first(view.name)
    return (Explanation(reason_from(view.reason, otherwise=Reason.INSPECTING_MODEL), text),)


def explain_rollout(persisted: Persisted) -> tuple[Explanation, ...]:
    """Say where the rollout stands, while it is not done."""
    rollout, stable = persisted.rollout, persisted.stable
    if rollout is None or rollout.phase == "Done":
        return ()
    reason = reason_from(rollout.reason, otherwise=Reason.ROLLING_OUT)
    if rollout.phase in ("RollingOut", "Rehearsing", "Failed"):
        return (Explanation(reason, rollout.message),)
    good = template_label(stable.id, stable.pod_hash) if stable else rollout.before
    if is_undecided(rollout):
        return (Explanation(reason, rollout_sentences.rollout_held(to=rollout.to, why=rollout.message, good=good)),)
    held = rollout.phase == "Held"
    text = rollout_sentences.rollout_given_up(to=rollout.to, why=rollout.message, good=good, held=held)
    return (Explanation(reason, text),)


def unless_told(found: tuple[Explanation, ...], told: tuple[Explanation, ...]) -> tuple[Explanation, ...]:
    """Return the explanations that no other one repeats, such as that of a rollout which they hold."""
    return tuple(one for one in found if not any(one.reason is by.reason and one.detail in by.detail for by in told))


def waits_for_spec(persisted: Persisted) -> bool:
    """Return whether the rollout goes on with another spec only, which is an event."""
    rollout = persisted.rollout
    return rollout is not None and (rollout.phase == "Held" or rollout.reason == Reason.ROLLOUT_PAUSED)


def explain_groups(state: PlanState, policy: UpdatePolicy | None, actions: Actions) -> tuple[Explanation, ...]:
    """Say why wanted groups do not serve, unless their actions say it; a failure is said all the same."""
    explained = {explanation.group for explanation in actions.explanations}
    found = []
    for ordinal in state.ordinals:
        stages = policy.template(ordinal).spec.sharding.pipeline if policy else 0
        explanation = explain_group(ordinal, stages, state)
        if explanation and (ordinal not in explained or explanation.reason in FAILURES):
            found.append(explanation)
    return tuple(found)

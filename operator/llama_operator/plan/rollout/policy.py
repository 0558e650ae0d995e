"""From where the rollout stands to the update policy of this pass: what groups are to be, and what may be disrupted.

A rollout that was changed in this pass is not acted upon before it is written: the pass keeps to the old one and
disrupts nothing. Without a desired template (its weights are not ready, or were refused) groups stay as they are, and
lost ones are made again from the stable template.
"""

from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.update_policy import UpdatePolicy
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.rollout.decision import is_undecided
from llama_operator.plan.rollout.progress import changing_ordinals
from llama_operator.plan.rollout.state_machine import Templates
from llama_operator.plan.rollout.turns import with_turns


def update_policy(persisted: Persisted, templates: Templates, state: PlanState) -> UpdatePolicy | None:
    """Choose the policy; None where there is nothing that groups could be made from."""
    policy, rollout = _policy(persisted, templates, state), persisted.rollout
    if policy is None or rollout is None or rollout.preview.strategy not in ("surge", "drain"):
        return policy
    return with_turns(policy, rollout.preview.strategy, state)


def _policy(persisted: Persisted, templates: Templates, state: PlanState) -> UpdatePolicy | None:
    desired, stable, rollout = templates.desired, templates.stable, persisted.rollout
    every, spec = frozenset(state.ordinals), state.spec.rollout
    unavailable = spec.max_unavailable
    if persisted.stable is None:
        return UpdatePolicy(desired, desired, every, unavailable=max(unavailable, 1)) if desired else None
    surge = spec.max_surge if rollout and rollout.preview.strategy == "surge" else 0
    ours = rollout is not None and (desired is None or rollout.key == desired.spec_hash)
    if rollout and ours and rollout.phase in ("RollingBack", "Held") and not is_undecided(rollout):
        if stable is None:
            return None
        reverse = rollout.phase == "RollingBack"
        return UpdatePolicy(stable, stable, every, reverse=reverse, surge=surge, unavailable=unavailable)
    if desired and desired.spec_hash == persisted.stable.key and not ours:
        return UpdatePolicy(desired, desired, every, unavailable=unavailable)
    if desired is None or rollout is None or not ours or not rollout.preview.strategy:
        return UpdatePolicy(stable, stable, unavailable=unavailable) if stable else None
    if rollout.phase == "Done":
        return UpdatePolicy(desired, desired, every, unavailable=unavailable)
    now = frozenset(changing_ordinals(rollout, state))
    return UpdatePolicy(
        desired,
        stable or desired,
        now,
        prefetch=frozenset(ordinal for ordinal in state.ordinals if ordinal >= spec.partition) - now,
        may_disrupt=not spec.paused,
        surge=surge,
        unavailable=unavailable,
    )


def decision_changed(before: Persisted, after: Persisted) -> bool:
    """Return whether the rollout now says something else about what is to be done."""
    return _decision(before) != _decision(after)


def _decision(persisted: Persisted) -> tuple[str, ...]:
    rollout = persisted.rollout
    if rollout is None:
        return ()
    return rollout.key, rollout.phase, rollout.verification_hash, rollout.preview.strategy, rollout.canary

"""Where a rollout stands: a state machine whose state is in the status, written before anything is done by it.

    (no rollout) -> Failed                                no group has served yet, and this one does not come to
                                                          (first_start.py)
    (no rollout) -> Rehearsing -> RollingOut -> Done      all groups have the desired template, which becomes the stable
                    Rehearsing <-> Held                   something is in the way of the first step (decision.py, or
                                                          unmade.py): held until it is gone, or the spec changes
                    RollingOut -> RollingBack -> Held     a rollback cause: back to the stable template, and held there
                                                          until the spec changes

A pass that changes the phase disrupts no serving group: it only writes. The next pass acts on what it reads, so an
operator that is killed in between has decided nothing that nobody knows. Another change of the spec starts another
rollout from what is there, whatever phase the present one is in.
"""

from dataclasses import dataclass, replace
from typing import Any

from llama_operator.api.v1alpha1.status import RolloutStatus, StableTemplate
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, persisted_template, template_identity, template_label
from llama_operator.plan.groups.template_hash import verification_hash
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.canary import (
    WeightsPair,
    canary_failure,
    count_requests,
    counter_baselines,
    watch_canary,
)
from llama_operator.plan.rollout.decision import StartDecision, decide, is_undecided
from llama_operator.plan.rollout.first_start import first_start
from llama_operator.plan.rollout.history import with_history
from llama_operator.plan.rollout.preview import preview_rollout
from llama_operator.plan.rollout.progress import explain_progress, updated_ordinals
from llama_operator.plan.rollout.rollback import rollback_cause
from llama_operator.plan.rollout.strategy import Choice, pod_hash_for
from llama_operator.plan.rollout.unmade import hold_unmade
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class Templates:
    """What the groups could be: what the spec asks for, if its weights are ready, and what they reached last."""

    desired: GroupTemplate | None
    stable: GroupTemplate | None
    obstacle: Explanation | None = None  # why there is no desired one, where that is known


def with_decided_hash(desired: GroupTemplate | None, persisted: Persisted) -> GroupTemplate | None:
    """Return the desired template with the pod hash that was decided for it; the plain one until its rollout starts."""
    if desired is None:
        return None
    for known in (persisted.rollout, persisted.stable):
        if known and known.key == desired.spec_hash:
            return replace(desired, pod_hash=known.pod_hash)
    if persisted.stable and persisted.stable.template_hash == desired.template_hash:
        return replace(desired, pod_hash=persisted.stable.pod_hash)
    return desired


def advance(persisted: Persisted, templates: Templates, state: PlanState) -> Persisted:
    """Return what is to be persisted after this pass."""
    desired = templates.desired
    if persisted.stable is None:
        return _first_stable(persisted, desired, state)
    if persisted.rollout and persisted.rollout.phase == "RollingBack":
        persisted = _end_roll_back(persisted, templates.stable, state)
    if desired is None:
        return hold_unmade(persisted, templates.obstacle, state)
    rollout = persisted.rollout
    if rollout is None or not _is_same(rollout, desired, state):
        return start(persisted, desired, state)
    if is_undecided(rollout):
        return replace(persisted, rollout=_decide_again(persisted, rollout, desired, state=state))
    return _roll_out(persisted, templates, state) if rollout.phase == "RollingOut" else persisted


def _first_stable(persisted: Persisted, desired: GroupTemplate | None, state: PlanState) -> Persisted:
    """Take the first template that a group serves, verified, as the first stable one; note a start that failed."""
    if desired is None:
        return replace(persisted, rollout=None)
    groups = (group for group in state.groups if group.id.pod_hash == desired.pod_hash)
    if any(group.serving and group.has(desired.serve) for group in groups):
        return replace(persisted, stable=persisted_template(desired), rollout=None)
    return replace(persisted, rollout=first_start(persisted.rollout, desired, state))


def _is_same(rollout: RolloutStatus, desired: GroupTemplate, state: PlanState) -> bool:
    """Return whether the rollout is the one that the spec asks for."""
    if rollout.key != desired.spec_hash:
        return False
    return rollout.phase != "Held" or rollout.verification_hash == verification_hash(state.spec, key=desired.spec_hash)


def start(persisted: Persisted, desired: GroupTemplate, state: PlanState) -> Persisted:
    """Start the rollout of the desired template; the one that runs is superseded."""
    last, stable = persisted.rollout, persisted.stable
    assert stable  # asked by advance
    running = last is not None and (last.phase in ("RollingOut", "RollingBack") or _is_mixed(last, stable, state))
    if desired.spec_hash == stable.key and not running:
        open_ = last is not None and last.phase != "Done"
        return replace(persisted, rollout=None) if open_ else persisted
    rolling_out = last is not None and last.phase == "RollingOut"
    before = last.to if last and rolling_out else template_label(stable.id, stable.pod_hash)
    started = replace(persisted, rollout=_started(persisted, desired, before, state=state))
    if last and running:
        return with_history(started, last, "superseded", why=sentences.rollout_superseded(), now=state.now)
    return started


def _started(persisted: Persisted, desired: GroupTemplate, before: str, *, state: PlanState) -> RolloutStatus:
    stable = persisted.stable
    assert stable  # asked by advance
    decision = decide(state, stable, desired, before=None)
    decided = _with_pod_hash(desired, decision.choice, persisted)
    return RolloutStatus(
        **(template_identity(decided) | _decided(decision, decided, before, state=state)),
        verification_hash=verification_hash(state.spec, key=decided.spec_hash),
        step=f"0 of {state.spec.replicas}",
        started=state.now.replace(microsecond=0),
        counter_baselines=counter_baselines(state.snapshot, WeightsPair(stable.id, decided.serve.weights.id)),
    )


def _with_pod_hash(desired: GroupTemplate, choice: Choice, persisted: Persisted) -> GroupTemplate:
    stable = persisted.stable
    if stable is None or desired.spec_hash == stable.key:
        return desired
    return replace(desired, pod_hash=pod_hash_for(choice, stable, desired))


def _roll_out(persisted: Persisted, templates: Templates, state: PlanState) -> Persisted:
    rollout, stable, desired = persisted.rollout, persisted.stable, templates.desired
    assert rollout  # asked by advance
    assert stable
    assert desired
    pair = WeightsPair(stable.id, desired.serve.weights.id)
    if desired.spec_hash != stable.key and templates.stable is not None:
        cause = rollback_cause(desired, state, since=rollout.started) or canary_failure(rollout, pair, state)
        if cause:
            return replace(
                persisted, rollout=roll_back(rollout, cause, verification_hash(state.spec, key=desired.spec_hash))
            )
    rollout = watch_canary(rollout, pair, desired, state=state)
    updated = updated_ordinals(state, desired, state.ordinals)
    canary_passed = rollout.canary == "passed" or not state.spec.rollout.canary.groups
    if state.ordinals and len(updated) == len(state.ordinals) and canary_passed:
        return complete(replace(persisted, rollout=rollout), desired, state)
    step = f"{len(updated)} of {len(state.ordinals)}"
    if step != rollout.step:
        counts = count_requests(state.snapshot, rollout.counter_baselines, pair)
        rollout = rollout.model_copy(update={"step": step, "counts": counts})
    progress = explain_progress(rollout, desired, state)
    update = {"reason": progress.reason.value, "message": progress.detail}
    return replace(persisted, rollout=rollout.model_copy(update=update))


def roll_back(rollout: RolloutStatus, cause: Explanation, verified_by: str) -> RolloutStatus:
    """Turn the rollout round. ``verified_by``: see ``verification_hash``."""
    update = {
        "phase": "RollingBack", "reason": cause.reason.value, "message": cause.detail, "verification_hash": verified_by,
    }  # fmt: skip
    return rollout.model_copy(update=update)


def _decide_again(
    persisted: Persisted, rollout: RolloutStatus, desired: GroupTemplate, *, state: PlanState
) -> RolloutStatus:
    """Ask whether the rollout may begin now."""
    assert persisted.stable  # asked by advance
    decision = decide(state, persisted.stable, desired, before=rollout.rehearsal)
    decided = _with_pod_hash(desired, decision.choice, persisted)
    return rollout.model_copy(update=_decided(decision, decided, rollout.before, state=state))


def _decided(decision: StartDecision, decided: GroupTemplate, before: str, *, state: PlanState) -> dict[str, Any]:
    """Return the fields of a rollout that follow from the decision."""
    choice = decision.choice
    begins = sentences.rollout_begins(to=decided.label, before=before)
    return {
        "phase": decision.phase,
        "reason": Reason.ROLLING_OUT.value if choice.strategy else choice.reason.value,
        "message": begins if choice.strategy else choice.why,
        "before": before,
        "to": decided.label,
        "pod_hash": decided.pod_hash,
        "preview": preview_rollout(choice, decided, before, state=state),
        "rehearsal": decision.rehearsal,
    }


def _is_mixed(rollout: RolloutStatus, stable: StableTemplate, state: PlanState) -> bool:
    """Return whether a rollout that has not begun took over from one that had changed groups already."""
    return is_undecided(rollout) and any(group.id.pod_hash != stable.pod_hash for group in state.groups)


def complete(persisted: Persisted, desired: GroupTemplate, state: PlanState) -> Persisted:
    """End the rollout: the desired template is the stable one now."""
    rollout, stable, replicas = persisted.rollout, persisted.stable, state.spec.replicas
    assert rollout  # asked by advance
    assert stable
    message = sentences.rollout_done(rollout.to, groups=replicas)
    pair = WeightsPair(stable.id, desired.serve.weights.id)
    counts = count_requests(state.snapshot, rollout.counter_baselines, pair)
    update = {"phase": "Done", "reason": "", "message": message, "step": f"{replicas} of {replicas}", "counts": counts}
    done = rollout.model_copy(update=update | _ended(state))
    ended = replace(persisted, rollout=done, stable=persisted_template(desired))
    return with_history(ended, done, "done", why=message, now=state.now)


def _end_roll_back(persisted: Persisted, stable: GroupTemplate | None, state: PlanState) -> Persisted:
    """Hold the rollout once all groups are back on the stable template."""
    rollout, every = persisted.rollout, state.ordinals
    assert rollout  # asked by advance
    if stable is None or len(updated_ordinals(state, stable, every)) < len(every):
        return persisted
    pair = WeightsPair(stable.serve.weights.id, rollout.id)
    counts = count_requests(state.snapshot, rollout.counter_baselines, pair)
    update = {"phase": "Held", "step": f"0 of {len(every)}", "counts": counts}
    held = rollout.model_copy(update=update | _ended(state))
    return with_history(replace(persisted, rollout=held), held, "rolledBack", why=rollout.message, now=state.now)


def _ended(state: PlanState) -> dict[str, object]:
    return {"ended": state.now.replace(microsecond=0), "counter_baselines": (), "canary_counter_baselines": ()}

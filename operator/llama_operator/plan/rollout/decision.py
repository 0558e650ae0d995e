"""Whether a rollout may begin, and which way: what the strategy says, once the rehearsal has passed.

The rehearsal runs beside a strategy that waits for room or for its user, which is said at once. A failure of the
rehearsal is said before it: it stays what it is when room comes.
"""

from dataclasses import dataclass
from typing import Literal

from llama_operator.api.v1alpha1.status import RehearsalStatus, RolloutStatus, StableTemplate
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.rehearsal.nodes import rehearsal_nodes
from llama_operator.plan.rehearsal.rehearsal import Rehearsal, RehearsalVerdict, judge_rehearsal, rehearsal_of
from llama_operator.plan.rollout.strategy import Choice, choose
from llama_operator.plan.sentences import rehearsal as sentences
from llama_serving.config.reason_catalogue import reason_from
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class StartDecision:
    """The strategy, or what is in the way of one, and where the rehearsal stands."""

    choice: Choice
    rehearsal: RehearsalStatus | None = None  # None: nothing had to be rehearsed

    @property
    def phase(self) -> Literal["RollingOut", "Rehearsing", "Held"]:
        """The phase of a rollout that has not touched a group yet."""
        if self.choice.strategy:
            return "RollingOut"
        return "Rehearsing" if self.choice.reason is Reason.REHEARSING else "Held"


def decide(
    state: PlanState, stable: StableTemplate, desired: GroupTemplate, *, before: RehearsalStatus | None
) -> StartDecision:
    """Decide how the groups come from the stable template to the desired one. ``before``: the rehearsal so far."""
    choice = choose(state, stable.template_hash, desired)
    if not _is_rehearsed(choice, state):
        return StartDecision(choice, before)
    if before and before.outcome == "passed":
        known = state.snapshot.rehearsal.answer_to(desired.spec_hash)
        return StartDecision(choice if known else _asks_anew(desired), before)
    rehearsal = _rehearsed(state, stable, desired, before=before)
    said = rehearsal.outcome == "running" and not choice.strategy  # what is in the way, and need not be looked for
    if rehearsal.outcome == "passed" or said:
        return StartDecision(choice, rehearsal)
    reason = reason_from(rehearsal.reason, otherwise=Reason.REHEARSING)
    return StartDecision(Choice("", rehearsal.message, reason), rehearsal)


def is_undecided(rollout: RolloutStatus) -> bool:
    """Return whether the rollout has no strategy yet: it has not touched a group."""
    return not rollout.preview.strategy and rollout.phase != "Done"


def pending_rehearsal(
    rollout: RolloutStatus | None, desired: GroupTemplate | None, state: PlanState
) -> Rehearsal | None:
    """Return the rehearsal of a rollout that has no strategy yet; None where there is none."""
    if rollout is None or desired is None or rollout.key != desired.spec_hash or not is_undecided(rollout):
        return None
    if rollout.rehearsal is None:
        return None
    return rehearsal_of(desired, rollout.rehearsal.nodes, state, over=rollout.rehearsal.outcome == "passed")


def _asks_anew(desired: GroupTemplate) -> Choice:
    """Another process of the operator has not asked about the quotas on which the strategy depends."""
    return Choice("", sentences.rehearsal_runs(desired.label, what=sentences.admission_asked()), Reason.REHEARSING)


def _is_rehearsed(choice: Choice, state: PlanState) -> bool:
    """Return whether something serves that new pods would take the place of."""
    serves = any(group.may_serve(state.now) for group in state.groups)
    return state.spec.rollout.rehearsal and choice.new_pods and serves


def _rehearsed(
    state: PlanState, stable: StableTemplate, desired: GroupTemplate, *, before: RehearsalStatus | None
) -> RehearsalStatus:
    if before is None:
        nodes = rehearsal_nodes(desired, stable, state)
        before = RehearsalStatus(outcome="running", nodes=nodes, started=state.now.replace(microsecond=0))
    beside = state.spec.rollout.strategy == "surge"  # auto drains where a quota takes no group beside
    verdict = judge_rehearsal(rehearsal_of(desired, before.nodes, state), state, beside=beside)
    if verdict.outcome == "running" and before.outcome == "failed":
        return before  # it is tried again, and still held
    return before.model_copy(update=_seen(verdict, before, state))


def _seen(verdict: RehearsalVerdict, before: RehearsalStatus, state: PlanState) -> dict[str, object]:
    seconds = max(int((state.now - before.started).total_seconds()), 0)
    update: dict[str, object] = {"outcome": verdict.outcome, "reason": verdict.reason.value, "message": verdict.message}
    if verdict.outcome == "running" or (verdict.outcome, verdict.message) == (before.outcome, before.message):
        return update
    if verdict.outcome == "passed":
        update |= {"reason": "", "message": sentences.rehearsal_passed(pods=len(before.nodes) + 1, seconds=seconds)}
    return {**update, "seconds": seconds}

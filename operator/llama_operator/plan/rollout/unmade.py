"""A spec from which no group could be made: its rollout is held, and the groups go on with what they serve.

The model contradicts the layout, the image is for another device, or the weights are refused or cannot be had. What the
groups would be is not known then, so such a rollout names no template. It ends when the spec changes, or by itself when
the cause is gone.
"""

from dataclasses import replace
from typing import Final

from llama_operator.api.v1alpha1.status import RolloutPreview, RolloutStatus
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import asked_key, is_asked_again, template_label
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.decision import is_undecided
from llama_operator.plan.rollout.history import with_history
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.reason_catalogue import FAILURES
from llama_serving.config.reasons import Reason

#: What stands against a spec whatever its weights are.
_OF_THE_SPEC: Final = frozenset({Reason.LAYOUT_REFUSED, Reason.TOOLS_REFUSED, Reason.IMAGE_REFUSED})


def hold_unmade(persisted: Persisted, obstacle: Explanation | None, state: PlanState) -> Persisted:
    """Hold the rollout of a spec from which no group could be made.

    ``obstacle``: what is in the way; None, or one that passes, while that is not known. A rollout that runs is left
    alone until the spec asks for another one, which supersedes it: groups that it changed stay. So is one that these
    weights were given up in. What is no edit, such as weights that serve and are looked at again, holds nothing.
    """
    last, key = persisted.rollout, asked_key(state.spec)
    runs = last is not None and last.phase == "RollingOut"
    if last and (last.phase == "RollingBack" or _was_given_up(last, obstacle, state)):
        return persisted
    if last and runs and not _asks_for_another(last, obstacle, state):
        return persisted
    if obstacle is None or obstacle.reason not in FAILURES or is_asked_again(persisted.stable, state.spec):
        stale = last is not None and _is_unmade(last) and last.key != key
        return replace(persisted, rollout=None) if stale else persisted
    held = last if last and last.key == key else _held(persisted, key, state)
    why = {"reason": obstacle.reason.value, "message": obstacle.detail, "preview": RolloutPreview(why=obstacle.detail)}
    after = replace(persisted, rollout=held.model_copy(update=why))
    if last and runs:
        return with_history(after, last, "superseded", why=sentences.rollout_superseded(), now=state.now)
    return after


def _asks_for_another(last: RolloutStatus, obstacle: Explanation | None, state: PlanState) -> bool:
    """Return whether the spec asks for something else than what is rolled out: that had a layout, and these weights."""
    if obstacle is not None and obstacle.reason in _OF_THE_SPEC:
        return True
    return state.model_weights is not None and state.model_weights.name != last.weights


def _was_given_up(last: RolloutStatus, obstacle: Explanation | None, state: PlanState) -> bool:
    """Return whether the rollout of these weights was rolled back: that cause is the first one."""
    view = state.model_weights
    if obstacle is None or obstacle.reason in _OF_THE_SPEC or view is None:
        return False
    return last.phase == "Held" and not is_undecided(last) and last.weights == view.name


def _is_unmade(rollout: RolloutStatus) -> bool:
    return not rollout.template_hash


def _held(persisted: Persisted, key: str, state: PlanState) -> RolloutStatus:
    stable, view = persisted.stable, state.model_weights
    return RolloutStatus(
        key=key,
        verification_hash="",
        phase="Held",
        before=template_label(stable.id, stable.pod_hash) if stable else "",
        to=sentences.unmade_template(state.spec.model.revision),
        template_hash="",
        pod_hash="",
        weights=view.name if view else "",
        digest=view.digest if view else "",
        id="",
        step=f"0 of {state.spec.replicas}",
        started=state.now.replace(microsecond=0),
    )

"""Which way a change takes, why, and what it will take: said before the first step.

``auto``: in place when only the weights change, a running engine can swap them (not every quantization can be), and a
group may be out of rotation; else surge when one more group would be admitted beside those that are there
(plan/placement/admit.py), taken by the quotas as far as they are known, and then the next one, to the last; else drain
when the groups that stay are enough for the present load; else nothing, and what is missing. Enough: ``in flight +
waiting <= (serving groups - 1) * maxConcurrentRequests``. With nobody to ask, or without the right to list nodes, surge
is left out and the load counts as it was last seen.

Where one group is all there is to be, ``auto`` never drains it: an outage is the user's decision. And no strategy
begins with groups that could not all come to their place in turn (turns.py).
"""

from dataclasses import dataclass, replace

from llama_operator.api.v1alpha1.rollout import RolloutSpec, Strategy
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rehearsal.quota import why_quota_refuses
from llama_operator.plan.rollout.durations import measured_seconds
from llama_operator.plan.rollout.turns import why_no_turn
from llama_operator.plan.sentences import placement as placement_sentences
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.model import unswappable_quantization
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class Choice:
    """The strategy of a rollout, and why."""

    strategy: str  # empty where none is possible; then ``reason`` says what kind of obstacle that is
    why: str
    reason: Reason = Reason.ROLLING_OUT

    @property
    def new_pods(self) -> bool:
        """Whether groups are made anew, or would be by this spec if something was not in the way."""
        return self.strategy != "inPlace" and self.reason is not Reason.ROLLOUT_HELD


def choose(state: PlanState, template_hash_before: str, template: GroupTemplate) -> Choice:
    """Choose the strategy of a rollout to the template from groups whose template has another hash, or the same one.

    None is chosen that could not be gone to its end: see turns.py.
    """
    rollout, only_weights = state.spec.rollout, template_hash_before == template.template_hash
    unswappable = _unswappable(state) if only_weights else ""
    if unswappable and rollout.strategy == "inPlace":
        return _contradiction(sentences.in_place_needs_new_engine(unswappable))
    choice = _choose(state, template, only_weights=only_weights and not unswappable)
    if not unswappable:
        return choice
    return replace(choice, why=f"{sentences.weights_need_new_engine(unswappable)}; {choice.why}")


def _unswappable(state: PlanState) -> str:
    """Return the quantization method that keeps the desired weights from being swapped; empty where nothing does."""
    view = state.model_weights
    if view is None or view.facts is None:
        return ""
    return unswappable_quantization(view.facts.quantization, asked=state.spec.engine.quantization)


def _choose(state: PlanState, template: GroupTemplate, *, only_weights: bool) -> Choice:
    rollout = state.spec.rollout
    asked: Strategy = rollout.strategy
    if asked == "inPlace":
        return _in_place(rollout, only_weights)
    if asked == "surge":
        return _surge_asked(state, template, rollout)
    if asked == "drain":
        return _drain_asked(state, template, rollout)
    if not state.groups and not only_weights and rollout.max_unavailable:
        return Choice("drain", sentences.nothing_to_drain())
    if only_weights and rollout.max_unavailable:
        return Choice("inPlace", sentences.only_weights_change())
    return _auto(state, template, rollout)


def pod_hash_for(choice: Choice, stable: StableTemplate, template: GroupTemplate) -> str:
    """Return the hash of the pods after the rollout: of those that are there when they stay, else one of their own."""
    if stable.template_hash != template.template_hash:
        return template.template_hash
    in_place = choice.strategy in ("inPlace", "")
    return stable.pod_hash if in_place else short_hash([template.template_hash, template.digest])


def _in_place(rollout: RolloutSpec, only_weights: bool) -> Choice:
    if not only_weights:
        return _contradiction(sentences.in_place_needs_new_pods())
    if not rollout.max_unavailable:
        return _contradiction(sentences.in_place_needs_unavailable())
    return Choice("inPlace", sentences.strategy_asked("inPlace"))


def _contradiction(text: str) -> Choice:
    return Choice("", text, Reason.ROLLOUT_HELD)


def _surge_asked(state: PlanState, template: GroupTemplate, rollout: RolloutSpec) -> Choice:
    if not rollout.max_surge:
        return _contradiction(sentences.surge_needs_max_surge())
    missing = _missing(state, template)
    if missing and missing.reason is Reason.UNSCHEDULABLE and rollout.rehearsal:
        return Choice("", missing.detail, missing.reason)
    stuck = "" if missing else why_no_turn("surge", template, state)  # with no room nothing is touched
    if stuck:
        return Choice("", sentences.surge_needs_drain(stuck), Reason.WAITING_FOR_ROOM)
    return Choice("surge", sentences.strategy_asked("surge"))


def _drain_asked(state: PlanState, template: GroupTemplate, rollout: RolloutSpec) -> Choice:
    if not rollout.max_unavailable:
        return _contradiction(sentences.drain_needs_unavailable())
    stuck = why_no_turn("drain", template, state)
    return _no_turn(stuck, template, state) if stuck else Choice("drain", sentences.strategy_asked("drain"))


def _auto(state: PlanState, template: GroupTemplate, rollout: RolloutSpec) -> Choice:
    no_surge = sentences.no_surge_allowed()
    if rollout.max_surge:
        no_surge = _missing_for_surge(state, template) or why_no_turn("surge", template, state)
        if not no_surge:
            return Choice("surge", sentences.surge_fits())
    choice, stuck = _drain_or_wait(no_surge, state), why_no_turn("drain", template, state)
    if not stuck:
        return choice
    if choice.strategy:
        return _no_turn(stuck, template, state)
    outage = choice.reason is Reason.OUTAGE_NOT_ACCEPTED  # to accept it would not help
    return _no_turn(stuck, template, state, said=no_surge if outage else choice.why)


def _no_turn(stuck: str, template: GroupTemplate, state: PlanState, *, said: str = "") -> Choice:
    """Hold a rollout whose groups cannot all be drained in their turn. ``said``: what else is in the way."""
    missing = _missing(state, template)
    never = missing is not None and missing.reason is Reason.UNSCHEDULABLE
    said = said or (missing.detail if missing else "")
    text = f"{said}; {stuck}" if said else stuck
    return Choice("", text, Reason.UNSCHEDULABLE if never else Reason.WAITING_FOR_ROOM)


def _drain_or_wait(no_surge: str, state: PlanState) -> Choice:
    """Choose as if all groups could change in their turn."""
    if not state.spec.rollout.max_unavailable:
        return Choice("", sentences.neither_surge_nor_drain(no_surge), Reason.WAITING_FOR_ROOM)
    serving = sum(group.may_serve(state.now) for group in state.groups)
    if not serving:
        return Choice("drain", sentences.nothing_serves(no_surge))
    if state.spec.replicas == 1:  # of more, one that serves alone is kept until another one serves: see steps.py
        seconds = measured_seconds("drain", state.groups)
        return Choice("", sentences.drain_is_an_outage(no_surge, seconds=seconds), Reason.OUTAGE_NOT_ACCEPTED)
    load, staying = present_load(state), max(state.available - 1, 0)
    slots = staying * state.spec.max_concurrent_requests
    if load <= slots:
        return Choice("drain", sentences.drain_holds_load(no_surge, groups=staying, slots=slots, load=load))
    text = sentences.drain_lacks_slots(no_surge, groups=staying, slots=slots, load=load)
    return Choice("", text, Reason.WAITING_FOR_ROOM)


def present_load(state: PlanState) -> int:
    """Count the requests that the gateways have in flight or waiting."""
    return sum(load.in_flight + load.waiting for load in state.snapshot.loads.values() if load)


def _missing_for_surge(state: PlanState, template: GroupTemplate) -> str:
    """Say why one more group would not be admitted beside those that are there; empty when it would be."""
    if state.snapshot.capacity is None:
        return placement_sentences.nodes_unknown()
    if claim_template := template.spec.device.claim_template:
        return placement_sentences.claim_devices_unknown(claim_template)
    missing = _missing(state, template)
    return missing.detail if missing else why_quota_refuses(template, state, beside=True)


def _missing(state: PlanState, template: GroupTemplate) -> Explanation | None:
    """Say why one more group would not be admitted beside those that are there; None: it would, or not known."""
    capacity = state.snapshot.capacity
    if capacity is None:
        return None
    own = frozenset(pod.uid for pod in state.snapshot.stages)
    group = WaitingGroup(sentences.one_more_group(), group_request(template.spec, capacity, own_uids=own))
    return next(iter(admit(capacity, [group]).explanations), None)

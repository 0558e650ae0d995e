"""How far each LoRA adapter is: of the object, and of every group whose engine answers.

An adapter that cannot be served says so here and takes nothing down: neither the base nor another adapter waits for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from llama_operator.api import ServedAdapterStatus
from llama_operator.plan.adapters.choice import AdapterChoice
from llama_operator.plan.adapters.placement import AdapterRoom, obstacle
from llama_operator.plan.adapters.verified import is_verified
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.naming import weights_id
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import adapters as sentences
from llama_serving.config.reasons import Reason
from llama_serving.config.state import AdapterOutcome, AdapterProgress


@dataclass(frozen=True)
class AdapterReport:
    """What is said of the adapters: the status of each, what somebody must mend, and what is on its way."""

    statuses: tuple[ServedAdapterStatus, ...] = ()
    left_out: tuple[Explanation, ...] = ()
    waits: tuple[Explanation, ...] = ()


def report_adapters(state: PlanState) -> AdapterReport:
    """Say how far every adapter is that the spec asks for."""
    room = _wanted_room(state)
    found = []
    for choice in state.adapters:
        why = obstacle(choice, room)
        found.append(_left_out(choice, why) if why else _on_groups(choice, state))
    statuses = tuple(found)
    return AdapterReport(
        statuses=statuses,
        left_out=tuple(_explained(one) for one in statuses if one.state == "LeftOut"),
        waits=tuple(_explained(one) for one in statuses if one.state in ("Resolving", "Loading") and one.message),
    )


def _wanted_room(state: PlanState) -> AdapterRoom:
    """Return the room of a group as the spec asks for it now."""
    limits, weights = state.spec.adapter_limits, state.model_weights
    return AdapterRoom(limits.limits() if limits else None, weights.facts if weights else None)


def _left_out(choice: AdapterChoice, why: str) -> ServedAdapterStatus:
    resolving = choice.reason is Reason.LOADING_ADAPTERS
    text = sentences.resolving(choice.name, said=why) if resolving else sentences.left_out(choice.name, why=why)
    reason = choice.reason or Reason.ADAPTER_REFUSED
    return _status(choice, "Resolving" if resolving else "LeftOut", (reason, text))


def _on_groups(choice: AdapterChoice, state: PlanState) -> ServedAdapterStatus:
    """Add up how far the groups are that answer; one that refuses the adapter is said first."""
    answering = [group for group in state.groups if group.answers]
    held = state.held_adapters  # of more than fit, a group holds those that are asked for
    groups = [group for group in answering if choice.name in held.get(group.id.name, (choice.name,))]
    if answering and not groups:
        return _status(choice, "Ready", ("", sentences.comes_when_asked_for()), groups_ready="0/0")
    seen = [(group, _progress(choice, group)) for group in groups]
    ready = sum(is_verified(progress, group) for group, progress in seen)
    count = f"{ready}/{len(groups)}"
    canary = state.adapter_canaries.get(choice.name)
    if canary and canary.state == "failed":
        return _status(choice, "LeftOut", (Reason.CANARY_FAILED, canary.message), groups_ready=count)
    refused = next(((group, one) for group, one in seen if one and one.outcome == AdapterOutcome.REFUSED), None)
    if refused:
        text = sentences.refused_by_group(choice.name, group=refused[0].id.ordinal, said=refused[1].message)
        return _status(choice, "LeftOut", (Reason.ADAPTER_REFUSED, text), groups_ready=count)
    if groups and ready == len(groups):
        return _status(choice, "Ready", ("", ""), groups_ready=count)
    if canary and canary.state == "watching":
        text = sentences.canary_watches(choice.name, id_=canary.id, seconds=state.spec.rollout.canary.seconds)
        return _status(choice, "Loading", (Reason.LOADING_ADAPTERS, text), groups_ready=count)
    said = next((_says(group, one, choice, state=state) for group, one in seen if not is_verified(one, group)), "")
    text = sentences.loading(choice.name, ready=ready, groups=len(groups), said=said) if groups else ""
    return _status(choice, "Loading", (Reason.LOADING_ADAPTERS, text), groups_ready=count)


def _says(group: Group, progress: AdapterProgress | None, choice: AdapterChoice, *, state: PlanState) -> str:
    ordinal = group.id.ordinal
    room = state.adapter_room(group, group.target_digest)
    if room.limits is None:
        return sentences.no_room_yet(ordinal)
    if why := obstacle(choice, room):
        return sentences.group_says(ordinal, why)
    if progress is None or not progress.message:
        return sentences.not_asked_yet(ordinal)
    return sentences.group_says(ordinal, progress.message)


def _progress(choice: AdapterChoice, group: Group) -> AdapterProgress | None:
    """Return what the leader says of these very bytes under this name."""
    digest, said = choice.view.digest if choice.view else "", group.state.adapters if group.state else ()
    return next((one for one in said if (one.name, one.digest) == (choice.name, digest)), None)


def _status(choice: AdapterChoice, state: str, why: tuple[str, str], *, groups_ready: str = "") -> ServedAdapterStatus:
    view = choice.view
    known = view is not None and view.ready and view.facts is not None
    return ServedAdapterStatus.model_validate(
        {
            "name": choice.name,
            "adapter": choice.adapter,
            "digest": view.digest if view else "",
            "id": weights_id(view.revision, view.digest) if view and known else "",
            "rank": view.facts.rank if view and view.facts else 0,
            "state": state,
            "reason": str(why[0]),
            "message": why[1],
            "groups_ready": groups_ready,
        }
    )


def _explained(status: ServedAdapterStatus) -> Explanation:
    """Say it of the deployment: why an adapter was refused is a word of its own object, as that of its weights is."""
    if status.state != "LeftOut":
        return Explanation(Reason.LOADING_ADAPTERS, status.message)
    missing = status.reason == Reason.ADAPTER_MISSING
    return Explanation(Reason.ADAPTER_MISSING if missing else Reason.ADAPTER_REFUSED, status.message)


def ready_condition(statuses: Iterable[ServedAdapterStatus]) -> tuple[bool, tuple[str, str]]:
    """Return whether every adapter is ready, and the reason and the sentence of the condition."""
    found = tuple(statuses)
    late = [one for one in found if one.state != "Ready"]
    if not late:
        return True, (Reason.SERVING, sentences.all_ready(len(found)))
    first = next((one for one in late if one.state == "LeftOut"), late[0])
    return False, (first.reason, first.message or sentences.waits_for_group())

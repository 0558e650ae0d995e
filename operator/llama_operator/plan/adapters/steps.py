"""The next step of one group with its adapters: what it is told to have, and which of them gateways may use.

The order of every change, derived at each pass from what is seen:

    add      desired state -> staged, loaded, verified in the group -> announced
    change   desired state with the new digest, one group at a time -> verified beside the old one, which answers until
             then -> announced under the new id. A group that refuses it keeps the old one, and no other group gets it
    leave    not announced any more -> seen by the operator -> no request of the gateways there -> desired state without

So gateways never send where an adapter is not, no request is answered by other bytes than those announced, and a name
that was served stays served. A request that comes between two of these steps is refused by the engine, which knows the
id that the gateway expects, and the gateway asks another group.

A group that starts, or comes back from a weight swap, opens its gate once each adapter that it shall hold is ready or
refused. A gate that is open is not closed for adapters.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Final

from llama_operator.plan.actions import SetAdapters
from llama_operator.plan.adapters.choice import AdapterChoice
from llama_operator.plan.adapters.seats import announced, in_flight_on
from llama_operator.plan.adapters.specified import SpecAdapter, specified
from llama_operator.plan.adapters.verified import is_verified
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.sentences import adapters as sentences
from llama_serving.config.desired import WantedAdapter
from llama_serving.config.gateway import LONGEST_ADAPTERS_ANNOTATION, MOST_ADAPTERS, ServedAdapter, ServedModels
from llama_serving.config.reasons import Reason
from llama_serving.config.state import AdapterOutcome, AdapterProgress
from llama_serving.config.wording import clause

_LONGEST_REFUSAL: Final = 300  # characters of a sentence that gateways repeat


def group_adapters(group: Group, state: PlanState, *, digest: str) -> tuple[WantedAdapter, ...]:
    """Return the adapters that a group is told to have beside the base of this digest: ``DesiredState.adapters``."""
    room = state.adapter_room(group, digest).limits
    if room is None or not state.adapters:
        return ()
    known = specified(group, state, digest=digest)
    kept = state.held_adapters.get(group.id.name, ())
    told = {one.name for one in group.state.adapters} if group.state else set()
    leaving = [one for one in known if one.name in told - set(kept) and _is_used(one.name, group, state)]
    stays = [one for one in known if one.name in kept and one.name in told]
    comes = [one for one in known if one.name in kept and one.name not in told]
    fits = [*stays, *leaving, *comes][: max(room.held, len(stays) + len(leaving))]
    return tuple(_version(one, group, state) for one in known if one in fits)


def adapter_note(group: Group, state: PlanState) -> SetAdapters | None:
    """Return the change of the leader's annotation, if there is one to be made."""
    leader = group.leader
    if leader is None or not leader.alive or group.state is None:
        return None
    if not (state.adapters or leader.adapters):
        return None
    found = announced_adapters(group, state)
    if found == announced(leader.adapters):
        return None
    text = json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""
    return SetAdapters(leader.name, leader.uid, text)


def announced_adapters(group: Group, state: PlanState) -> dict[str, str]:
    """Return the adapters that gateways may use on this group: ids by name."""
    leader = group.leader
    before = announced(leader.adapters) if leader else {}
    kept = state.held_adapters.get(group.id.name, ())
    told = {one.name: one for one in group.state.adapters} if group.state else {}
    found: dict[str, str | None] = {}
    for one in specified(group, state, digest=group.target_digest):
        if one.name not in kept or one.name not in told:
            continue
        ids = {version.adapter.digest: version.adapter.id for version in (one.wanted, one.former) if version}
        was, told_id = before.get(one.name), ids.get(told[one.name].digest)
        if is_verified(told[one.name], group):
            found[one.name] = told_id or was
        elif group.in_rotation and (was != told_id or told[one.name].outcome == AdapterOutcome.VERIFYING):
            found[one.name] = was  # it answers until the new one, or the answers to new prompts, are verified
    return _fitting({name: id_ for name, id_ in found.items() if id_})


def _fitting(ids: dict[str, str]) -> dict[str, str]:
    """Return the first of them, as many as an annotation has space for: some 1000 of usual names."""
    left, found = LONGEST_ADAPTERS_ANNOTATION, {}
    for name, id_ in ids.items():
        left -= len(json.dumps({name: id_}))
        if left < 0:
            break
        found[name] = id_
    return found


def start_waits_for(group: Group, state: PlanState) -> str:
    """Say which adapters the group must have before its first request; empty when it has them, or refused them."""
    held = state.held_adapters.get(group.id.name, ())
    known = specified(group, state, digest=group.target_digest) if held else ()
    wanted = [_version(one, group, state) for one in known if one.name in held]
    late = [one for one in wanted if not _has_ended(one, group)]
    if not late:
        return ""
    first = _progress(late[0], group)
    doing = first.message or first.outcome if first else ""
    return sentences.start_waits(
        group.id.ordinal, ready=len(wanted) - len(late), of=len(wanted), name=late[0].adapter.name, doing=doing
    )


def served_models(state: PlanState, *, base: str) -> ServedModels | None:
    """Return what gateways are told of the names that exist; None where the spec names no adapter."""
    if not state.adapters:
        return None
    named = {choice.name: choice for choice in reversed(state.adapters)}  # of two of one name the first is served
    adapters = (_named(choice, state, base=base) for choice in reversed(named.values()) if choice.name != base)
    return ServedModels(adapters=tuple(islice(adapters, MOST_ADAPTERS)), max_model_len=state.spec.context_length)


def _named(choice: AdapterChoice, state: PlanState, *, base: str) -> ServedAdapter:
    """Return what gateways are told of one name; one that is not resolved yet may still come."""
    coming = choice.reason in (None, Reason.LOADING_ADAPTERS, Reason.ADAPTER_MISSING)
    refused = _refused_everywhere(choice, state) if coming else choice.message
    return ServedAdapter(name=choice.name, parent=base, refused=clause(refused, _LONGEST_REFUSAL))


def _refused_everywhere(choice: AdapterChoice, state: PlanState) -> str:
    """Return why the groups refuse an adapter, where every one does that was told to have it; else empty."""
    cells = (group.state for group in state.groups)
    said = [one for cell in cells if cell for one in cell.adapters if one.name == choice.name]
    return (
        said[0].message or said[0].reason if said and all(one.outcome == AdapterOutcome.REFUSED for one in said) else ""
    )


def _version(one: SpecAdapter, group: Group, state: PlanState) -> WantedAdapter:
    """Return what a name is to mean on this group: its new version only when it is the group's turn."""
    return one.wanted if one.former is None or _may_change(one.wanted, group, state) else one.former


def _may_change(new: WantedAdapter, group: Group, state: PlanState) -> bool:
    """Return whether a group may get a new version: the first one at once, the others once one answers with it.

    One that refused it is not told otherwise: the old one answers there as before, and that it refused stays seen.
    With a canary the others wait until it has passed; one that failed leaves no group with the new version.
    """
    canary = state.adapter_canaries.get(new.adapter.name)
    if canary and canary.state == "failed":
        return False
    if _has_ended(new, group):
        return True
    holders = [other for other in state.groups if new.adapter.name in state.held_adapters.get(other.id.name, ())]
    if any(_is_refused(new, other) for other in holders):
        return False
    first = next(iter(holders), None)
    if group is not first and canary and canary.state != "passed":
        return False
    return group is first or any(other.serving and _is_ready(new, other) for other in holders)


def _is_used(name: str, group: Group, state: PlanState) -> bool:
    """Return whether gateways may still send requests for an adapter to this group, or have some there."""
    leader = group.leader
    if leader is None:
        return False
    return name in announced(leader.adapters) or in_flight_on(leader.name, state.snapshot).get(name, 0) > 0


def _progress(wanted: WantedAdapter, group: Group) -> AdapterProgress | None:
    return next(_progresses(wanted, group), None)


def _progresses(wanted: WantedAdapter, group: Group) -> Iterator[AdapterProgress]:
    for one in group.state.adapters if group.state else ():
        if (one.name, one.digest) == (wanted.adapter.name, wanted.adapter.digest):
            yield one


def _is_ready(wanted: WantedAdapter, group: Group) -> bool:
    """Return whether the group answers with it, verified on the base that it has now."""
    return is_verified(_progress(wanted, group), group)


def _is_refused(wanted: WantedAdapter, group: Group) -> bool:
    found = _progress(wanted, group)
    return found is not None and found.outcome == AdapterOutcome.REFUSED


def _has_ended(wanted: WantedAdapter, group: Group) -> bool:
    return _is_ready(wanted, group) or _is_refused(wanted, group)

"""What a name of the spec is to mean on one group, and what it meant before, as far as that is known."""

from dataclasses import dataclass, replace

from llama_operator.plan.adapters.placement import adapters_of_group
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_serving.config.desired import WantedAdapter


@dataclass(frozen=True)
class SpecAdapter:
    """One adapter for one group. ``former``: None where the name means what it meant, or nobody knows that any more."""

    wanted: WantedAdapter
    former: WantedAdapter | None = None

    @property
    def name(self) -> str:
        """Its name in the OpenAI API."""
        return self.wanted.adapter.name


def specified(group: Group, state: PlanState, *, digest: str) -> tuple[SpecAdapter, ...]:
    """Return the adapters that the group can have, in the order of the spec, beside the base of this digest.

    What a name meant before is what this group, else another one, was told to have under it, as long as a LlamaAdapter
    of these bytes is there.
    """
    room = state.adapter_room(group, digest)
    own = {one.name: one.digest for one in group.state.adapters} if group.state else {}
    found = []
    for choice in state.adapters:
        wanted = next(iter(adapters_of_group((choice,), room)), None)
        if wanted is None:
            continue
        told = own.get(choice.name, wanted.adapter.digest)
        before = {told} if told != wanted.adapter.digest else _elsewhere(choice.name, state) - {told}
        others = sorted(state.snapshot.adapters.items()) if before else ()
        views = [view for _, view in others if view.ready and view.digest in before][:1]
        old = adapters_of_group(tuple(replace(choice, view=view) for view in views), room)
        found.append(SpecAdapter(wanted, next(iter(old), None)))
    return tuple(found)


def _elsewhere(name: str, state: PlanState) -> frozenset[str]:
    """Return what other groups were told to have, and what a canary would go back to."""
    canary = state.adapter_canaries.get(name)
    return state.told_digests.get(name, frozenset()) | ({canary.former_digest} if canary else set())

"""Which LoRA adapters a group shall hold: those that fit its base and its engine's room, the most wanted first.

What a group is told is a level. A change of it is loaded while the group serves, and restarts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llama_operator.observe.deployment import AdapterView
from llama_operator.plan.adapters.choice import AdapterChoice
from llama_operator.plan.adapters.fit import misfit
from llama_operator.plan.adapters.limits import engine_rank
from llama_operator.plan.naming import weights_id
from llama_operator.plan.sentences import adapters as sentences
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import AdapterRef, WantedAdapter
from llama_serving.config.model import ModelFacts
from llama_serving.config.source import fill


@dataclass(frozen=True)
class AdapterRoom:
    """What decides which adapters a group can have: the room in its engine, and the base that it serves or will."""

    limits: AdapterLimits | None  # None: its engine was made without any
    base: ModelFacts | None  # None: not known now, so shapes are not compared; the cell still verifies


def adapters_of_group(choices: Sequence[AdapterChoice], room: AdapterRoom) -> tuple[WantedAdapter, ...]:
    """Return those of the adapters ``choices`` that a group can hold; which k of n they are says residency.py."""
    if room.limits is None:
        return ()
    fitting = (choice for choice in choices if not obstacle(choice, room))
    layers = room.base.layers if room.base else 0
    wanted = [wanted_adapter(choice.name, choice.view, layers=layers) for choice in fitting if choice.view]
    return tuple(wanted[: room.limits.held])


def obstacle(choice: AdapterChoice, room: AdapterRoom) -> str:
    """Return why a group cannot have this adapter, beside the number that it holds; empty where it can."""
    view, limits = choice.view, room.limits
    if choice.reason or view is None or view.facts is None:
        return choice.message or sentences.not_resolved(choice.adapter)
    if limits and view.facts.rank > limits.max_rank:
        return sentences.rank_too_high(rank=view.facts.rank, most=limits.max_rank, remedy=engine_rank(view.facts.rank))
    return misfit(view.facts, room.base) if room.base else ""


def wanted_adapter(name: str, view: AdapterView, *, layers: int) -> WantedAdapter:
    """Return what stagers and engines are told of a ready adapter. Raises ValueError for one that is not."""
    if view.manifest is None or view.facts is None:
        raise ValueError(f"LlamaAdapter {view.name} is not resolved")
    return WantedAdapter(
        adapter=AdapterRef(
            name=name, digest=view.digest, id=weights_id(view.revision, view.digest), rank=view.facts.rank
        ),
        source=fill(view.source, view.revision),
        revision=view.resolved or view.revision,
        manifest=view.manifest,
        layers=layers,
        golden=view.golden,
    )
